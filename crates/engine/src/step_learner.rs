//! Learns how long steps take from those that are served.

use crate::{
    Fit, StepFeatures, StepModel,
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

/// Step seconds between two looks at what was served: fits take some 100 µs each.
const LOOK_EVERY_SECONDS: f64 = 5.0;
/// Steps to fit a candidate to.
const STEPS_TO_FIT: usize = 32;
/// Groups of like steps to judge a candidate by. One class has fewer: a load of one kind judges
/// nobody.
const GROUPS_TO_JUDGE: usize = 16;
/// Steps of one class whose median is judged; fewer say nothing.
const STEPS_A_GROUP: usize = 3;
/// Steps that have some of a kind of work before the model counts as knowing it.
const STEPS_TO_KNOW: usize = 8;
/// What the model in use counts beside the steps. It matters where the steps leave a coefficient
/// open: that stays as it was.
const PRIOR_WEIGHT: f64 = 0.01;
/// A candidate that explains too little takes the place of a model that explained enough only where
/// it errs by less than this share of what that errs by now.
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
                if fresh.iter().flat_map(groups).count() < GROUPS_TO_JUDGE {
                    return None;
                }
                judge(current, &candidate.model, &fresh)
            }
        };
        let steps = self.served.since(f64::NEG_INFINITY).concat();
        if steps.len() >= STEPS_TO_FIT {
            let model = fit(next.as_ref().unwrap_or(current), &steps);
            let fitted_at = now;
            self.candidate = Some(Candidate { model, fitted_at });
        }
        next
    }
}

/// The steps of one class in groups of about as many.
fn groups(class: &Vec<TimedStep>) -> impl Iterator<Item = &[TimedStep]> {
    let count = class.len() / STEPS_A_GROUP;
    (0..count).map(move |i| &class[i * class.len() / count..(i + 1) * class.len() / count])
}

/// What the candidate is worth, by steps that it has not seen: whether it takes the place of
/// `current`. Else `current` may have to follow the machine's speed.
fn judge(
    current: &StepModel,
    candidate: &StepModel,
    fresh: &[Vec<TimedStep>],
) -> Option<StepModel> {
    let told = |group: &[TimedStep]| measured_and_expected(candidate, group);
    let groups = fresh.iter().flat_map(groups).map(told);
    let (measured, expected): (Vec<f64>, Vec<f64>) = groups.unzip();
    let fresh = fresh.concat();
    let fit = Fit {
        reach: candidate.fit.reach,
        ..Fit::of_served(&measured, &expected, candidate.fit.coefficients)
    };
    let candidate = StepModel { fit, ..*candidate };
    let old = Errors::of(current, &fresh);
    let is_contradicted = || {
        let new = Errors::of(&candidate, &fresh);
        new.around_speed < CONTRADICTED * old.around_speed
    };
    if fit.is_good() || !current.fit.is_good() || is_contradicted() {
        return Some(candidate);
    }
    let has_changed = !(1.0 / OTHER_SPEED..OTHER_SPEED).contains(&old.speed);
    has_changed.then(|| current.scaled(old.speed))
}

/// Of like steps, what the model expects of them on average, and what they took: the median of how
/// many times as long as expected, as the calibration takes the median of a step's times. What a
/// busy machine adds to one of them is not the model's to explain, and evens out in what is charged.
fn measured_and_expected(model: &StepModel, group: &[TimedStep]) -> (f64, f64) {
    let expected_of = |step: &TimedStep| {
        let expected = model.expect_features(&step.features);
        expected.max(f64::MIN_POSITIVE)
    };
    let expected = group.iter().map(expected_of).sum::<f64>() / group.len() as f64;
    let ratios = group.iter().map(|step| step.seconds / expected_of(step));
    (expected * median(ratios.collect()), expected)
}

/// How far off a model is.
struct Errors {
    /// What its expectations are to be multiplied with.
    speed: f64,
    /// The mean of `|ln(measured / expected)|` after that: a split goes by ratios, so a machine that
    /// got slower as a whole does not contradict it.
    around_speed: f64,
}

impl Errors {
    fn of(model: &StepModel, steps: &[TimedStep]) -> Self {
        let log_ratio = |step: &TimedStep| {
            let expected = model.expect_features(&step.features);
            (step.seconds / expected.max(f64::MIN_POSITIVE)).ln()
        };
        let log_ratios: Vec<f64> = steps.iter().map(log_ratio).collect();
        let speed = median(log_ratios.clone());
        let off: f64 = log_ratios.iter().map(|ratio| (ratio - speed).abs()).sum();
        Self {
            speed: speed.exp(),
            around_speed: off / steps.len() as f64,
        }
    }
}

/// A candidate. What the steps do not tell, it has from the model before, at the machine's speed.
fn fit(before: &StepModel, steps: &[TimedStep]) -> StepModel {
    let speed = Errors::of(before, steps).speed;
    let prior = Prior {
        x: before.scaled(speed).coefficients(),
        weight: PRIOR_WEIGHT,
    };
    let coefficients = fit_robustly(steps, Some(prior));
    let reach = reach(steps);
    let known = match before.fit.is_good() {
        true => before.fit.reach,
        false => StepFeatures::default(),
    };
    StepModel {
        fit: Fit {
            steps: steps.len(),
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
