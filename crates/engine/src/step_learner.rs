//! Learns how long steps take from those that are served.

use crate::{
    Fit, FitSource, StepFeatures, StepModel,
    least_squares::Prior,
    robust_fit::{TimedStep, fit_robustly, median},
    served_steps::ServedSteps,
};

/// Keeps some of the served steps, fits a candidate to them, and judges it by the steps that come
/// after that. Its work takes bounded time, and constant memory.
#[derive(Clone, Debug, Default)]
pub struct StepLearner {
    served: ServedSteps,
    candidate: Option<Candidate>,
    /// Step seconds at the last look.
    looked_at: f64,
}

#[derive(Clone, Copy, Debug)]
struct Candidate {
    model: StepModel,
    /// What it was fitted to ended here, in step seconds.
    fitted_at: f64,
}

/// Step seconds between two looks at what was served: fits take some 200 µs each.
const LOOK_EVERY_SECONDS: f64 = 5.0;
/// Steps to fit a candidate to.
const STEPS_TO_FIT: usize = 32;
/// Steps, neighbours by class, whose median is judged as one.
const STEPS_A_GROUP: usize = 4;
/// Groups to judge a model by. A class or two have fewer: a load of one kind judges nobody.
const GROUPS_TO_JUDGE: usize = 20;
/// Steps that have some of a kind of work before the model counts as knowing it.
const STEPS_TO_KNOW: usize = 8;
/// What the model in use counts beside the steps. It matters where the steps leave a coefficient
/// open: that stays as it was.
const PRIOR_WEIGHT: f64 = 0.01;
/// A candidate that explains too little takes the place of a model that explained enough before only
/// where it leaves less than this share of the variance that this one leaves by now.
const CONTRADICTED: f64 = 0.8;
/// A model follows the machine's speed where that differs by more than this factor.
const OTHER_SPEED: f64 = 1.1;

impl StepLearner {
    /// Takes note of a step that was served.
    pub fn observe(&mut self, features: StepFeatures, seconds: f64) {
        if seconds > 0.0 && seconds.is_finite() {
            self.served.observe(TimedStep { features, seconds });
        }
    }

    /// Whether there is enough that is new to look at.
    pub fn is_due(&self) -> bool {
        self.served.spent_seconds() >= self.looked_at + LOOK_EVERY_SECONDS
    }

    /// The model to go on with, where that is not `current` any more.
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

/// What both models are worth, by steps that neither has seen: whether the candidate takes the place
/// of `current`. Else `current` may have to follow the machine's speed, which changes no split.
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

/// The model with the fit that it has by these steps.
fn judged(model: &StepModel, steps: &[TimedStep]) -> StepModel {
    let groups = steps.chunks(STEPS_A_GROUP);
    let told = groups.map(|group| measured_and_expected(model, group));
    let (measured, expected): (Vec<f64>, Vec<f64>) = told.unzip();
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

/// Of like steps, what the model expects of them on average, and what they took: the median of how
/// many times as long as expected, as the calibration takes the median of a step's times. What a
/// busy machine adds to one of them is not the model's to explain, and evens out in what is charged.
fn measured_and_expected(model: &StepModel, group: &[TimedStep]) -> (f64, f64) {
    let expected = group.iter().map(|step| expected(model, step));
    let mean = expected.sum::<f64>() / group.len() as f64;
    (mean * speed(model, group), mean)
}

/// The median of how many times as long as expected the steps took.
fn speed(model: &StepModel, steps: &[TimedStep]) -> f64 {
    let ratios = steps
        .iter()
        .map(|step| step.seconds / expected(model, step));
    median(ratios.collect())
}

fn expected(model: &StepModel, step: &TimedStep) -> f64 {
    model.expect_features(&step.features).max(f64::MIN_POSITIVE)
}

/// A candidate. What the steps do not tell, it has from the model before, at the machine's speed.
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

/// How much of each kind of work several of the steps have.
fn reach(steps: &[TimedStep]) -> StepFeatures {
    StepFeatures(std::array::from_fn(|kind| {
        let mut amounts: Vec<f64> = steps.iter().map(|step| step.features.0[kind]).collect();
        amounts.sort_unstable_by(|a, b| b.total_cmp(a));
        amounts.get(STEPS_TO_KNOW - 1).copied().unwrap_or(0.0)
    }))
}

#[cfg(test)]
mod tests;
