//! Users whose requests resemble each other.

use farthing_experiment::Arm;
use rand::Rng;
use rand::rngs::StdRng;
use rand_distr::{Beta, Distribution, LogNormal};

/// Where the users of an arm come from.
#[derive(Clone, Copy)]
pub(crate) struct Population {
    /// The mean cost of a request in dollars.
    pub(crate) cost: f64,
    /// The share of accepted answers.
    pub(crate) accepted: f64,
}

/// One user.
pub(crate) struct User {
    cost: LogNormal<f64>,
    accepted: f64,
}

/// The spread of the logarithm of costs between users, and of one user's requests.
const BETWEEN: f64 = 0.6;
const WITHIN: f64 = 0.8;
/// The accepted answers of users vary like a beta distribution with this sum of its parameters: the
/// correlation within a user is 1/(1 + sum).
const BETA_SUM: f64 = 4.0;

/// The two metrics of an arm.
#[derive(Default)]
pub(crate) struct Metrics {
    /// Accepted answers of all answers.
    pub(crate) quality: Arm<u32>,
    /// Dollars per accepted answer.
    pub(crate) cost: Arm<u32>,
    /// Accepted answers of all answers, as if each request were a unit of its own.
    pub(crate) by_request: Arm<u64>,
    requests: u64,
}

impl Population {
    pub(crate) fn user(&self, random: &mut StdRng) -> anyhow::Result<User> {
        // The mean of a lognormal is exp(μ + σ²/2).
        let level = LogNormal::new(self.cost.ln() - BETWEEN * BETWEEN / 2.0, BETWEEN)?;
        let level = level.sample(random);
        let share = Beta::new(self.accepted * BETA_SUM, (1.0 - self.accepted) * BETA_SUM)?;
        Ok(User {
            cost: LogNormal::new(level.ln() - WITHIN * WITHIN / 2.0, WITHIN)?,
            accepted: share.sample(random),
        })
    }

    /// Dollars per accepted answer in the long run, as cost and acceptance are independent.
    pub(crate) fn cost_per_accepted(&self) -> f64 {
        self.cost / self.accepted
    }
}

impl Metrics {
    pub(crate) fn add_request(
        &mut self,
        id: u32,
        user: &User,
        random: &mut StdRng,
    ) -> anyhow::Result<()> {
        let accepted = f64::from(u8::from(random.random_bool(user.accepted)));
        self.quality.add(id, accepted, 1.0)?;
        self.cost.add(id, user.cost.sample(random), accepted)?;
        self.by_request.add(self.requests, accepted, 1.0)?;
        self.requests += 1;
        Ok(())
    }

    /// `users` users with 1 to 19 requests each.
    pub(crate) fn collect(
        population: &Population,
        users: u32,
        random: &mut StdRng,
    ) -> anyhow::Result<Self> {
        let mut metrics = Self::default();
        for id in 0..users {
            let user = population.user(random)?;
            for _ in 0..random.random_range(1..20) {
                metrics.add_request(id, &user, random)?;
            }
        }
        Ok(metrics)
    }
}
