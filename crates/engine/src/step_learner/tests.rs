//! Learning from steps with known times.

use super::StepLearner;
use crate::{
    Fit, FitSource, RowWork, StepFeatures, StepModel, StepWork,
    served_steps::{MOST_CLASSES, STEPS_A_CLASS},
};

/// The true times of a device.
fn device() -> StepModel {
    StepModel {
        fixed_seconds: 5e-3,
        seconds_per_token: [1e-3, 4e-4, 4e-4],
        seconds_per_logits: 3e-4,
        seconds_per_prompt_key: 1e-6,
        seconds_per_decode_key: 2e-6,
        fit: Fit {
            r_squared: 0.99,
            reach: StepFeatures::UNLIMITED,
            ..Fit::default()
        },
        ..StepModel::default()
    }
}

/// The result of a calibration on a busy machine: nearly all of a step's time for its logits, and
/// nothing for a prompt's tokens.
fn garbage() -> StepModel {
    StepModel {
        fixed_seconds: 0.0,
        seconds_per_token: [0.0; 3],
        seconds_per_logits: 2e-2,
        seconds_per_prompt_key: 4e-5,
        seconds_per_decode_key: 0.0,
        seconds_per_adapter_byte: 1e-9,
        seconds_per_adapter: 0.3,
        fit: Fit {
            steps: 10,
            coefficients: 9,
            r_squared: -1.3,
            residual_p95: 2.0,
            reach: StepFeatures::UNLIMITED,
            source: FitSource::Calibration,
        },
    }
}

/// Reproducible pseudorandom numbers.
struct Chance(u64);

impl Chance {
    /// From 0 to 1.
    fn share(&mut self) -> f64 {
        self.0 = self
            .0
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        (self.0 >> 11) as f64 / (1u64 << 53) as f64
    }

    fn between(&mut self, low: usize, high: usize) -> usize {
        low + (self.share() * (high + 1 - low) as f64) as usize
    }

    /// The factor by which other load slows down a step: usually small, sometimes two to four, and
    /// ten once in a hundred steps.
    fn disturbance(&mut self) -> f64 {
        match self.share() {
            kind if kind < 0.01 => 10.0,
            kind if kind < 0.1 => 2.0 + 2.0 * self.share(),
            _ => 1.0 + 0.3 * self.share(),
        }
    }
}

fn decodes(rows: usize, context: usize) -> Vec<RowWork> {
    let row = RowWork {
        output: StepWork {
            tokens: 1.0,
            logits: 1.0,
            decode_keys: context as f64,
            ..StepWork::default()
        },
        ..RowWork::default()
    };
    vec![row; rows]
}

fn prompt(tokens: usize) -> Vec<RowWork> {
    let tokens = tokens as f64;
    vec![RowWork {
        input: StepWork {
            tokens,
            prompt_keys: tokens * (tokens + 1.0) / 2.0,
            ..StepWork::default()
        },
        output: StepWork {
            logits: 1.0,
            ..StepWork::default()
        },
        ..RowWork::default()
    }]
}

fn mixed(chance: &mut Chance) -> StepFeatures {
    let running = chance.between(1, 24);
    let context = chance.between(16, 1200);
    let mut rows = decodes(running, context);
    if chance.share() < 0.3 {
        rows.extend(prompt(chance.between(8, 500)));
    }
    StepFeatures::of(&rows)
}

/// An engine that serves steps and uses the learned model.
struct Serving {
    learner: StepLearner,
    model: StepModel,
}

impl Serving {
    fn from(model: StepModel) -> Self {
        let learner = StepLearner::default();
        Self { learner, model }
    }

    /// Serves steps for this many seconds. `step` returns a step and its seconds.
    fn serve(&mut self, seconds: f64, mut step: impl FnMut() -> (StepFeatures, f64)) {
        let until = self.learner.served.spent_seconds() + seconds;
        while self.learner.served.spent_seconds() < until {
            let (features, seconds) = step();
            self.learner.observe(features, seconds);
            if self.learner.is_due()
                && let Some(model) = self.learner.look(&self.model)
            {
                self.model = model;
            }
        }
    }
}

/// The cost of prompts in decodes according to the model, for some lengths and contexts.
fn prompts_in_decodes(model: &StepModel) -> [f64; 3] {
    [(30, 100), (200, 500), (450, 1000)].map(|(tokens, context)| {
        let decodes = StepFeatures::of(&decodes(8, context));
        let prompt = StepFeatures::of(&prompt(tokens));
        model.expect_features(&prompt) / model.expect_features(&decodes)
    })
}

fn assert_splits_alike(found: &StepModel, truth: &StepModel, tolerance: f64) {
    let pairs = prompts_in_decodes(found)
        .into_iter()
        .zip(prompts_in_decodes(truth));
    for (found_ratio, true_ratio) in pairs {
        let off = found_ratio / true_ratio - 1.0;
        assert!(
            off.abs() < tolerance,
            "{found_ratio} is not {true_ratio}: {found:?}"
        );
    }
}

#[test]
fn mixed_load_mends_a_calibration_that_explains_nothing() {
    let (truth, mut chance) = (device(), Chance(1));
    let mut serving = Serving::from(garbage());
    assert!(!serving.model.fit.is_good());
    serving.serve(120.0, || {
        let features = mixed(&mut chance);
        (
            features,
            truth.expect_features(&features) * chance.disturbance(),
        )
    });
    let fit = serving.model.fit;
    assert!(
        fit.is_good() && fit.source == FitSource::ServedSteps,
        "{fit:?}"
    );
    assert_splits_alike(&serving.model, &truth, 0.15);
    // No adapter was ever served, so their coefficients are still those of the bad calibration.
    let mut adapted = StepFeatures::of(&decodes(2, 100));
    assert!(serving.model.is_good_for(&adapted));
    adapted.0[4] = 1e6;
    adapted.0[5] = 1.0;
    assert!(!serving.model.is_good_for(&adapted));
}

#[test]
fn times_that_have_nothing_to_do_with_the_work_are_never_explained() {
    let mut chance = Chance(2);
    let mut serving = Serving::from(garbage());
    for _ in 0..60 {
        serving.serve(10.0, || {
            let features = mixed(&mut chance);
            (features, 0.005 + 0.2 * chance.share() * chance.share())
        });
        assert!(!serving.model.fit.is_good(), "{:?}", serving.model);
    }
}

#[test]
fn a_model_follows_a_machine_that_changes_its_speed() {
    let (truth, mut chance) = (device(), Chance(3));
    let mut serving = Serving::from(truth);
    for speed in [1.0, 2.5, 0.5] {
        serving.serve(400.0, || {
            let features = mixed(&mut chance);
            let seconds = truth.expect_features(&features) * (1.0 + 0.1 * chance.share());
            (features, speed * seconds)
        });
        assert!(serving.model.fit.is_good(), "{:?}", serving.model);
        assert_splits_alike(&serving.model, &truth, 0.1);
        let step = mixed(&mut chance);
        let ratio = serving.model.expect_features(&step) / truth.expect_features(&step);
        assert!(
            (ratio / speed - 1.05).abs() < 0.1,
            "{ratio} at speed {speed}"
        );
    }
}

/// Only prompts became slower, as if another process used the cores but not the memory. The old
/// split would be wrong.
#[test]
fn a_model_that_served_steps_contradict_is_replaced() {
    let mut truth = device();
    let (before, mut chance) = (truth, Chance(4));
    truth.seconds_per_token = [1e-3, 1.6e-3, 1.6e-3];
    let mut serving = Serving::from(before);
    serving.serve(200.0, || {
        let features = mixed(&mut chance);
        (
            features,
            truth.expect_features(&features) * chance.disturbance(),
        )
    });
    assert!(serving.model.fit.is_good(), "{:?}", serving.model);
    assert_splits_alike(&serving.model, &truth, 0.15);
}

/// Only decodes, always about the same number: the steps cannot separate the fixed part from tokens
/// and logits, and contain no prompts at all.
#[test]
fn a_load_of_one_kind_neither_ruins_a_split_nor_proves_one() {
    let truth = device();
    let steady = |chance: &mut Chance| {
        let features = StepFeatures::of(&decodes(chance.between(15, 16), 200));
        (
            features,
            1.7 * truth.expect_features(&features) * chance.disturbance(),
        )
    };
    let mut chance = Chance(5);
    let mut serving = Serving::from(truth);
    serving.serve(1200.0, || steady(&mut chance));
    assert!(serving.model.fit.is_good());
    assert_splits_alike(&serving.model, &truth, 0.05);

    let mut serving = Serving::from(garbage());
    serving.serve(1200.0, || steady(&mut chance));
    assert!(!serving.model.fit.is_good(), "{:?}", serving.model);
}

/// Only decodes, but of many sizes: they are explained, and prompts are not.
#[test]
fn what_is_explained_reaches_no_further_than_what_was_served() {
    let (truth, mut chance) = (device(), Chance(6));
    let mut serving = Serving::from(garbage());
    serving.serve(300.0, || {
        let features = StepFeatures::of(&decodes(chance.between(1, 64), chance.between(1, 4000)));
        (
            features,
            truth.expect_features(&features) * (1.0 + 0.1 * chance.share()),
        )
    });
    let model = serving.model;
    assert!(
        model.is_good_for(&StepFeatures::of(&decodes(12, 700))),
        "{model:?}"
    );
    for tokens in [20, 500] {
        assert!(
            !model.is_good_for(&StepFeatures::of(&prompt(tokens))),
            "{model:?}"
        );
    }
    // Then prompts arrive.
    serving.serve(120.0, || {
        let features = mixed(&mut chance);
        (
            features,
            truth.expect_features(&features) * (1.0 + 0.1 * chance.share()),
        )
    });
    assert!(serving.model.is_good_for(&StepFeatures::of(&prompt(500))));
    assert_splits_alike(&serving.model, &truth, 0.1);
}

/// The machine may pause for a while; that affects one step.
#[test]
fn a_long_pause_changes_nothing() {
    let (truth, mut chance) = (device(), Chance(7));
    let mut serving = Serving::from(truth);
    let mut steps = 0;
    serving.serve(900.0, || {
        steps += 1;
        let pause = if steps % 500 == 0 { 30.0 } else { 0.0 };
        let features = mixed(&mut chance);
        let seconds = truth.expect_features(&features) * (1.0 + 0.1 * chance.share());
        (features, seconds + pause)
    });
    assert!(serving.model.fit.is_good(), "{:?}", serving.model);
    assert_splits_alike(&serving.model, &truth, 0.1);
}

#[test]
fn memory_is_bounded_and_rare_steps_are_remembered() {
    let mut chance = Chance(8);
    let mut learner = StepLearner::default();
    for _ in 0..100_000 {
        let amounts: [f64; 9] = std::array::from_fn(|_| 1e7 * chance.share().powi(8));
        learner.observe(StepFeatures(amounts), 0.1 * chance.share());
    }
    let kept = learner.served.since(f64::NEG_INFINITY).len();
    assert!(kept <= MOST_CLASSES * STEPS_A_CLASS, "{kept} steps");

    let mut learner = StepLearner::default();
    let rare = StepFeatures::of(&prompt(300));
    for step in 0..10_000 {
        if step % 1000 == 0 {
            learner.observe(rare, 0.2);
        }
        learner.observe(StepFeatures::of(&decodes(8, 100)), 0.02);
    }
    let kept = learner.served.since(f64::NEG_INFINITY);
    let rares = kept.iter().filter(|step| step.features == rare).count();
    assert_eq!((rares, kept.len()), (10, 10 + STEPS_A_CLASS));
}

#[test]
fn what_is_no_time_is_not_learnt_from() {
    let mut learner = StepLearner::default();
    for seconds in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        learner.observe(StepFeatures::of(&decodes(1, 1)), seconds);
    }
    assert!(learner.served.since(f64::NEG_INFINITY).is_empty());
}

/// More kinds of steps than are kept, in turn: those that are kept stay.
#[test]
fn classes_that_take_turns_do_not_drive_each_other_out() {
    let mut learner = StepLearner::default();
    for _ in 0..STEPS_A_CLASS {
        for class in 0..2 * MOST_CLASSES as i32 {
            let mut features = StepFeatures::of(&decodes(2 << (class % 8), 1));
            features.0[2] = 16f64.powi(class / 8);
            learner.observe(features, 0.05);
        }
    }
    let kept = learner.served.since(f64::NEG_INFINITY).len();
    assert_eq!(kept, MOST_CLASSES * STEPS_A_CLASS);
}

/// Short steps, some of which take ten times as long, are kept in their true proportion.
#[test]
fn long_steps_are_not_kept_more_often() {
    let mut chance = Chance(9);
    let mut learner = StepLearner::default();
    let (mut kept, mut slow) = (0, 0);
    for _ in 0..200 {
        for _ in 0..2000 {
            let seconds = if chance.share() < 0.1 { 0.1 } else { 0.01 };
            learner.observe(StepFeatures::of(&decodes(4, 100)), seconds);
        }
        let steps = learner.served.since(f64::NEG_INFINITY);
        kept += steps.len();
        slow += steps.iter().filter(|step| step.seconds > 0.05).count();
    }
    let share = slow as f64 / kept as f64;
    assert!((0.07..0.13).contains(&share), "{share}");
}
