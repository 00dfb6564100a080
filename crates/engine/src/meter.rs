//! Measures each step, and what each of its rows had of it.

use std::{collections::HashMap, time::Instant};

use farthing_scheduler::{AdapterId, BatchRow};

use crate::{
    DeviceSeconds, Pause, RowContext, RowWork, StepModel, TokenSeconds, device_seconds::Timeline,
};

/// Books all time since the start of the process, and splits that of steps over their rows.
#[derive(Clone, Debug)]
pub struct Meter {
    model: StepModel,
    sliding_window: Option<usize>,
    adapter_bytes: HashMap<AdapterId, usize>,
    timeline: Timeline,
    expected_seconds: f64,
}

/// By what a step's seconds are split over its rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SplitBasis {
    /// By what the step model expects of each.
    #[default]
    StepModel,
    /// By their new tokens, since the model does not fit this device.
    Tokens,
}

impl Meter {
    /// A meter whose window begins at `process_began`, for a model whose attention sees
    /// `sliding_window` tokens back.
    pub fn new(model: StepModel, sliding_window: Option<usize>, process_began: Instant) -> Self {
        Self {
            model,
            sliding_window,
            adapter_bytes: HashMap::new(),
            timeline: Timeline::new(process_began),
            expected_seconds: 0.0,
        }
    }

    /// Says how large an adapter is, which its rows' work depends on.
    pub fn add_adapter(&mut self, id: AdapterId, size_bytes: usize) {
        self.adapter_bytes.insert(id, size_bytes);
    }

    /// Forgets an adapter that has no rows any more.
    pub fn remove_adapter(&mut self, id: AdapterId) {
        self.adapter_bytes.remove(&id);
    }

    /// What the rows' seconds go by.
    pub fn basis(&self) -> SplitBasis {
        match self.model.fit.is_good() {
            true => SplitBasis::StepModel,
            false => SplitBasis::Tokens,
        }
    }

    /// What a row has to do whose sequence found `cached_tokens` in the prefix cache.
    pub fn work(&self, row: &BatchRow, cached_tokens: usize) -> RowWork {
        let adapter_bytes = |adapter| self.adapter_bytes.get(&adapter).copied();
        let context = RowContext {
            cached_tokens,
            sliding_window: self.sliding_window,
            adapter_bytes: row.adapter.and_then(adapter_bytes).unwrap_or(0),
        };
        RowWork::of(row, context)
    }

    /// The seconds of each row. They add up to `step_seconds`.
    pub fn split(&self, rows: &[RowWork], step_seconds: f64) -> Vec<TokenSeconds> {
        self.scaled(self.model.apportion(rows), rows, step_seconds)
    }

    /// What the model expects of the rows, scaled to what they took together.
    fn scaled(
        &self,
        expected: Vec<TokenSeconds>,
        rows: &[RowWork],
        step_seconds: f64,
    ) -> Vec<TokenSeconds> {
        let by_model = match self.basis() {
            SplitBasis::StepModel => scale(&expected, step_seconds),
            SplitBasis::Tokens => None,
        };
        let by_tokens = || {
            let tokens: Vec<_> = rows.iter().map(tokens_of).collect();
            scale(&tokens, step_seconds)
        };
        // A calibration may find a kind of work too cheap to see; no step is free for that.
        by_model.or_else(by_tokens).unwrap_or_default()
    }

    /// Books the time until now to a step with these rows, and splits it. `measured_seconds` is
    /// what the device itself says that it took.
    pub(crate) fn charge_step(
        &mut self,
        rows: &[RowWork],
        measured_seconds: Option<f64>,
    ) -> Vec<TokenSeconds> {
        let step_seconds = self.timeline.step(measured_seconds);
        let expected = self.model.apportion(rows);
        self.expected_seconds += expected.iter().map(TokenSeconds::total).sum::<f64>();
        self.scaled(expected, rows, step_seconds)
    }

    /// Books the time until now, and tells when that is.
    pub(crate) fn pause(&mut self, pause: Pause) -> Instant {
        self.timeline.pause(pause)
    }

    /// Of the steps' seconds, these were of a sequence whose caller left.
    pub(crate) fn count_aborted(&mut self, seconds: f64) {
        self.timeline.seconds_mut().aborted += seconds;
    }

    /// Of the steps' seconds, these were of a sequence that failed.
    pub(crate) fn count_failed(&mut self, seconds: f64) {
        self.timeline.seconds_mut().failed += seconds;
    }

    /// All time until now was warm-up.
    pub(crate) fn end_warm_up(&mut self) {
        self.timeline.end_warm_up();
        self.expected_seconds = 0.0;
    }

    pub(crate) fn seconds(&self) -> DeviceSeconds {
        self.timeline.seconds()
    }

    /// Σ of what the model expected of the steps.
    pub(crate) fn expected_seconds(&self) -> f64 {
        self.expected_seconds
    }

    /// How long steps take.
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

/// The weights, times what makes them add up to `seconds`; none where they are all zero.
fn scale(weights: &[TokenSeconds], seconds: f64) -> Option<Vec<TokenSeconds>> {
    let total: f64 = weights.iter().map(TokenSeconds::total).sum();
    let scaled = |weight: &TokenSeconds| TokenSeconds {
        input: seconds * (weight.input / total),
        cached: seconds * (weight.cached / total),
        output: seconds * (weight.output / total),
    };
    (total > 0.0).then(|| weights.iter().map(scaled).collect())
}
