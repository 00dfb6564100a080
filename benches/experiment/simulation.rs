//! Many independent experiments, on all cores.

use std::fmt;
use std::ops::RangeInclusive;

use rand::SeedableRng;
use rand::rngs::StdRng;

/// A measured share of experiments, or a time, with its limit.
pub(crate) struct Finding {
    what: String,
    measured: f64,
    limit: Option<RangeInclusive<f64>>,
    unit: &'static str,
}

impl Finding {
    /// Of experiments that ended as `outcomes` say, in percent.
    pub(crate) fn share(what: impl Into<String>, outcomes: &[bool]) -> Self {
        let hits = outcomes.iter().filter(|hit| **hit).count();
        Self {
            what: what.into(),
            measured: 100.0 * hits as f64 / outcomes.len() as f64,
            limit: None,
            unit: "%",
        }
    }

    pub(crate) fn seconds(what: impl Into<String>, seconds: f64) -> Self {
        Self {
            what: what.into(),
            measured: seconds,
            limit: None,
            unit: "s",
        }
    }

    pub(crate) fn within(mut self, limit: RangeInclusive<f64>) -> Self {
        self.limit = Some(limit);
        self
    }

    pub(crate) fn passes(&self) -> bool {
        let limit = self.limit.as_ref();
        limit.is_none_or(|limit| limit.contains(&self.measured))
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:<76} {:7.2} {}", self.what, self.measured, self.unit)?;
        match &self.limit {
            Some(limit) => {
                let verdict = if self.passes() { "ok" } else { "MISSED" };
                write!(f, "  {} to {}: {verdict}", limit.start(), limit.end())
            }
            None => write!(f, "  for comparison"),
        }
    }
}

/// Which experiments are run.
#[derive(Clone, Copy)]
pub(crate) struct Simulation {
    /// Multiplies their number.
    pub(crate) scale: f64,
    /// The number of the first one, which is its seed.
    pub(crate) first: u64,
}

impl Simulation {
    /// Runs `experiments × scale` experiments. Each has its own seed, so that the result does not
    /// depend on the number of cores.
    pub(crate) fn run<T: Send>(
        self,
        experiments: usize,
        experiment: impl Fn(&mut StdRng) -> anyhow::Result<T> + Sync,
    ) -> anyhow::Result<Vec<T>> {
        let experiments = ((experiments as f64 * self.scale) as usize).max(20);
        let threads = std::thread::available_parallelism()?.get();
        let of_thread = |thread: usize| {
            (thread..experiments)
                .step_by(threads)
                .map(|number| experiment(&mut StdRng::seed_from_u64(self.first + number as u64)))
                .collect::<anyhow::Result<Vec<T>>>()
        };
        std::thread::scope(|scope| {
            let workers: Vec<_> = (0..threads)
                .map(|thread| {
                    let of_thread = &of_thread;
                    scope.spawn(move || of_thread(thread))
                })
                .collect();
            let mut all = Vec::with_capacity(experiments);
            for worker in workers {
                let results = worker.join();
                all.extend(results.map_err(|_| anyhow::anyhow!("a thread ended"))??);
            }
            Ok(all)
        })
    }
}
