//! Measures each step and splits its time among the rows.

use std::{collections::HashMap, time::Instant};

use farthing_scheduler::{AdapterId, BatchRow};

use crate::{
    DeviceSeconds, Pause, RowContext, RowWork, SplitBasis, StepFeatures, StepModel, TokenSeconds,
    device_seconds::Timeline, step_learner::StepLearner,
};

/// Books all time since the start of the process, and splits the time of steps among their rows.
#[derive(Clone, Debug)]
pub struct Meter {
    model: StepModel,
    sliding_window: Option<usize>,
    adapter_bytes: HashMap<AdapterId, usize>,
    timeline: Timeline,
    expected_seconds: f64,
    seconds_by_tokens: f64,
    learner: StepLearner,
    refits: u64,
}

/// The seconds of a step, split among its rows.
#[derive(Clone, Debug, PartialEq)]
pub struct Split {
    /// The share of each row. The shares add up to the step's seconds.
    pub shares: Vec<TokenSeconds>,
    /// How they were split.
    pub basis: SplitBasis,
}

/// A step that has run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct StepTaken<'a> {
    pub rows: &'a [RowWork],
    /// The device's own measurement, if it has one.
    pub measured_seconds: Option<f64>,
    pub succeeded: bool,
}

impl Meter {
    /// A meter whose window starts at `process_began`. `sliding_window` is the model's attention
    /// window.
    pub fn new(model: StepModel, sliding_window: Option<usize>, process_began: Instant) -> Self {
        Self {
            model,
            sliding_window,
            adapter_bytes: HashMap::new(),
            timeline: Timeline::new(process_began),
            expected_seconds: 0.0,
            seconds_by_tokens: 0.0,
            learner: StepLearner::default(),
            refits: 0,
        }
    }

    /// Registers the size of an adapter, which the work of its rows depends on.
    pub fn add_adapter(&mut self, id: AdapterId, size_bytes: usize) {
        self.adapter_bytes.insert(id, size_bytes);
    }

    /// Removes an adapter that no row uses any more.
    pub fn remove_adapter(&mut self, id: AdapterId) {
        self.adapter_bytes.remove(&id);
    }

    /// How steps are split that the model covers.
    pub fn basis(&self) -> SplitBasis {
        self.model.fit.basis()
    }

    /// The work of a row. `cached_tokens` is how many tokens of its prompt were found in the prefix
    /// cache.
    pub fn work(&self, row: &BatchRow, cached_tokens: usize) -> RowWork {
        let adapter_bytes = |adapter| self.adapter_bytes.get(&adapter).copied();
        let context = RowContext {
            cached_tokens,
            sliding_window: self.sliding_window,
            adapter_bytes: row.adapter.and_then(adapter_bytes).unwrap_or(0),
        };
        RowWork::of(row, context)
    }

    /// Splits the seconds of a step among its rows: the model's predictions, scaled to add up to
    /// the measured time.
    pub fn split(&self, rows: &[RowWork], step_seconds: f64) -> Split {
        self.split_known(rows, &StepFeatures::of(rows), step_seconds)
    }

    fn split_known(&self, rows: &[RowWork], work: &StepFeatures, step_seconds: f64) -> Split {
        let by_model = self.model.is_good_for(work).then(|| Split {
            shares: self.model.apportion(rows),
            basis: SplitBasis::StepModel,
        });
        // A fitted coefficient can be 0, but no row may be free because of that.
        let by_model = by_model.and_then(|split| split.scaled_to(step_seconds));
        let by_tokens = || {
            let split = Split {
                shares: rows.iter().map(tokens_of).collect(),
                basis: SplitBasis::Tokens,
            };
            split.scaled_to(step_seconds)
        };
        by_model.or_else(by_tokens).unwrap_or(Split {
            shares: Vec::new(),
            basis: SplitBasis::Tokens,
        })
    }

    /// Books the time since the last booking to a step, splits it, and passes the step to the
    /// learner.
    pub(crate) fn charge_step(&mut self, step: StepTaken<'_>) -> Split {
        let seconds = self.timeline.step(step.measured_seconds);
        let work = StepFeatures::of(step.rows);
        self.expected_seconds += self.model.expect_features(&work);
        let split = self.split_known(step.rows, &work, seconds);
        if split.basis == SplitBasis::Tokens {
            self.seconds_by_tokens += seconds;
        }
        if step.succeeded {
            self.learner.observe(work, seconds);
        }
        split
    }

    /// Refits the model if enough new steps were served, and says whether it has changed. Earlier
    /// charges do not change.
    pub(crate) fn learn(&mut self) -> bool {
        if !self.learner.is_due() {
            return false;
        }
        let Some(model) = self.learner.look(&self.model) else {
            return false;
        };
        let before = self.basis();
        self.refits += u64::from(model.coefficients() != self.model.coefficients());
        self.model = model;
        let fit = model.fit;
        if self.basis() != before {
            let basis = self.basis();
            tracing::info!(
                r_squared = fit.r_squared,
                ?basis,
                "the step model was fitted to served steps"
            );
        }
        true
    }

    /// Books the time since the last booking, and returns the current time.
    pub(crate) fn pause(&mut self, pause: Pause) -> Instant {
        self.timeline.pause(pause)
    }

    /// Counts seconds of `steps` as those of a sequence whose caller left.
    pub(crate) fn count_aborted(&mut self, seconds: f64) {
        self.timeline.seconds_mut().aborted += seconds;
    }

    /// Counts seconds of `steps` as those of a sequence that failed.
    pub(crate) fn count_failed(&mut self, seconds: f64) {
        self.timeline.seconds_mut().failed += seconds;
    }

    /// Counts all time until now as warm-up.
    pub(crate) fn end_warm_up(&mut self) {
        self.timeline.end_warm_up();
        self.expected_seconds = 0.0;
        self.seconds_by_tokens = 0.0;
    }

    pub(crate) fn seconds(&self) -> DeviceSeconds {
        self.timeline.seconds()
    }

    /// Sum of the model's predictions for all steps.
    pub(crate) fn expected_seconds(&self) -> f64 {
        self.expected_seconds
    }

    /// Sum of the seconds of steps that were split by tokens.
    pub(crate) fn seconds_by_tokens(&self) -> f64 {
        self.seconds_by_tokens
    }

    /// How often the model has changed since the start.
    pub(crate) fn refits(&self) -> u64 {
        self.refits
    }

    /// The current step model.
    pub fn model(&self) -> &StepModel {
        &self.model
    }
}

fn tokens_of(row: &RowWork) -> TokenSeconds {
    TokenSeconds {
        input: row.input.tokens,
        cached: 0.0,
        output: row.output.tokens,
    }
}

impl Split {
    /// Scales the shares so that they add up to `seconds`; `None` if they are all zero.
    fn scaled_to(mut self, seconds: f64) -> Option<Self> {
        let total: f64 = self.shares.iter().map(TokenSeconds::total).sum();
        for share in &mut self.shares {
            *share = TokenSeconds {
                input: seconds * (share.input / total),
                cached: seconds * (share.cached / total),
                output: seconds * (share.output / total),
            };
        }
        (total > 0.0).then_some(self)
    }
}

#[cfg(test)]
mod tests;
