//! Learns how long steps take from the served steps.

use crate::{
    Fit, FitSource, StepFeatures, StepModel,
    least_squares::Prior,
    robust_fit::{TimedStep, fit_robustly, median},
    served_steps::ServedSteps,
};

/// Keeps a sample of the served steps, fits a candidate model to them, and judges it by later
/// steps. It needs bounded time and constant memory.
#[derive(Clone, Debug, Default)]
pub struct StepLearner {
    served: ServedSteps,
    candidate: Option<Candidate>,
    /// Step seconds at the last call of `look`.
    looked_at: f64,
}

#[derive(Clone, Copy, Debug)]
struct Candidate {
    model: StepModel,
    /// Step seconds at the time of the fit.
    fitted_at: f64,
}

/// Step seconds between two fits. A fit takes about 200 µs.
const LOOK_EVERY_SECONDS: f64 = 5.0;
/// Minimum number of steps for a fit.
const STEPS_TO_FIT: usize = 32;
/// Steps per group. A group of neighbours by class is judged by its median.
const STEPS_A_GROUP: usize = 4;
/// Minimum number of groups to judge a model. A load of one or two classes has fewer, and does not
/// judge.
const GROUPS_TO_JUDGE: usize = 20;
/// A kind of work is covered by the model if at least this many steps have it.
const STEPS_TO_KNOW: usize = 8;
/// Weight of the current model as a prior. It decides coefficients for which the steps give no
/// information.
const PRIOR_WEIGHT: f64 = 0.01;
/// A candidate with too low an R² replaces a model that was good before only if it leaves less than
/// this fraction of the variance that the model leaves now.
const CONTRADICTED: f64 = 0.8;
/// A model is rescaled if the machine's speed differs by more than this factor.
const OTHER_SPEED: f64 = 1.1;

impl StepLearner {
    /// Adds a served step.
    pub fn observe(&mut self, features: StepFeatures, seconds: f64) {
        if seconds > 0.0 && seconds.is_finite() {
            self.served.observe(TimedStep { features, seconds });
        }
    }

    /// Whether it is time for another [`look`](Self::look).
    pub fn is_due(&self) -> bool {
        self.served.spent_seconds() >= self.looked_at + LOOK_EVERY_SECONDS
    }

    /// Returns the model to use from now on, or `None` to keep `current`.
    pub fn look(&mut self, current: &StepModel) -> Option<StepModel> {
        let now = self.served.spent_seconds();
        self.looked_at = now;
        let next = match self.candidate {
            None => None,
            Some(candidate) => {
                let fresh = self.served.since(candidate.fitted_at);
                if fresh.len() < GROUPS_TO_JUDGE * STEPS_A_GROUP {
                    return None;
                }
                judge(current, &candidate.model, &fresh)
            }
        };
        let steps = self.served.since(f64::NEG_INFINITY);
        if steps.len() >= STEPS_TO_FIT {
            let model = fit(next.as_ref().unwrap_or(current), &steps);
            let fitted_at = now;
            self.candidate = Some(Candidate { model, fitted_at });
        }
        next
    }
}

/// Compares both models on steps that neither was fitted to, and decides whether the candidate
/// replaces `current`. Otherwise `current` may be rescaled to the machine's speed, which changes no
/// split.
fn judge(current: &StepModel, candidate: &StepModel, fresh: &[TimedStep]) -> Option<StepModel> {
    let candidate = judged(candidate, fresh);
    if candidate.fit.is_good() || !current.fit.is_good() {
        return Some(candidate);
    }
    let speed = speed(current, fresh);
    let has_changed = !(1.0 / OTHER_SPEED..OTHER_SPEED).contains(&speed);
    let current = current.scaled(if has_changed { speed } else { 1.0 });
    let confirmed = judged(&current.scaled(speed), fresh).fit;
    let left = |fit: &Fit| 1.0 - fit.r_squared;
    if confirmed.is_good() {
        Some(StepModel {
            fit: confirmed,
            ..current
        })
    } else if left(&candidate.fit) < CONTRADICTED * left(&confirmed) {
        Some(candidate)
    } else {
        has_changed.then_some(current)
    }
}

/// The model with its fit on these steps.
fn judged(model: &StepModel, steps: &[TimedStep]) -> StepModel {
    let groups = steps.chunks(STEPS_A_GROUP);
    let pairs = groups.map(|group| measured_and_expected(model, group));
    let (measured, expected): (Vec<f64>, Vec<f64>) = pairs.unzip();
    let Fit {
        source,
        coefficients,
        reach,
        ..
    } = model.fit;
    StepModel {
        fit: Fit {
            source,
            coefficients,
            reach,
            ..Fit::of_served(&measured, &expected)
        },
        ..*model
    }
}

/// For a group of similar steps: the mean prediction, and the mean prediction times the median
/// ratio of measured to predicted time. The median leaves out what other load added to single
/// steps.
fn measured_and_expected(model: &StepModel, group: &[TimedStep]) -> (f64, f64) {
    let expected = group.iter().map(|step| expected(model, step));
    let mean = expected.sum::<f64>() / group.len() as f64;
    (mean * speed(model, group), mean)
}

/// The median ratio of measured to predicted time.
fn speed(model: &StepModel, steps: &[TimedStep]) -> f64 {
    let ratios = steps
        .iter()
        .map(|step| step.seconds / expected(model, step));
    median(ratios.collect())
}

fn expected(model: &StepModel, step: &TimedStep) -> f64 {
    model.expect_features(&step.features).max(f64::MIN_POSITIVE)
}

/// Fits a candidate. Coefficients without data come from the previous model, at the machine's
/// present speed.
fn fit(before: &StepModel, steps: &[TimedStep]) -> StepModel {
    let prior = Prior {
        x: before.scaled(speed(before, steps)).coefficients(),
        weight: PRIOR_WEIGHT,
    };
    let coefficients = fit_robustly(steps, Some(prior));
    let reach = reach(steps);
    let known = if before.fit.is_good() {
        before.fit.reach
    } else {
        StepFeatures::default()
    };
    StepModel {
        fit: Fit {
            source: FitSource::ServedSteps,
            coefficients: reach.0.iter().filter(|most| **most > 0.0).count(),
            reach: reach.max(&known),
            ..Fit::default()
        },
        ..StepModel::from_coefficients(coefficients)
    }
}

/// The largest amount of each kind of work that several of the steps have.
fn reach(steps: &[TimedStep]) -> StepFeatures {
    StepFeatures(std::array::from_fn(|kind| {
        let mut amounts: Vec<f64> = steps.iter().map(|step| step.features.0[kind]).collect();
        amounts.sort_unstable_by(|a, b| b.total_cmp(a));
        amounts.get(STEPS_TO_KNOW - 1).copied().unwrap_or(0.0)
    }))
}

#[cfg(test)]
mod tests;
