//! The usage of one request: the sum over its choices.

use farthing_economics::Basis;
use farthing_ledger::Picoseconds;

use super::choice_usage::{ChoiceUsage, DeviceUsage};

/// The prompts of a request, and the usage of those choices that are closed.
#[derive(Clone, Debug, Default)]
pub(crate) struct RequestUsage {
    /// The number of tokens of each prompt.
    prompts: Vec<usize>,
    /// Choices per prompt.
    n: usize,
    /// Prompt by prompt.
    choices: Vec<Option<ChoiceUsage>>,
}

impl RequestUsage {
    /// `n` open choices for each prompt.
    pub(crate) fn new(prompts: Vec<usize>, n: usize) -> Self {
        let choices = vec![None; n * prompts.len()];
        Self {
            prompts,
            n,
            choices,
        }
    }

    /// The number of choices over all prompts.
    pub(crate) fn num_choices(&self) -> usize {
        self.choices.len()
    }

    pub(crate) fn num_prompts(&self) -> usize {
        self.prompts.len()
    }

    pub(crate) fn num_open(&self) -> usize {
        self.choices
            .iter()
            .filter(|choice| choice.is_none())
            .count()
    }

    pub(crate) fn close(&mut self, choice: usize, usage: ChoiceUsage) {
        self.choices[choice] = Some(usage);
    }

    /// Keeps the usage that the answer reported, if it reported one.
    pub(crate) fn close_if_open(&mut self, choice: usize, usage: ChoiceUsage) {
        self.choices[choice].get_or_insert(usage);
    }

    pub(crate) fn is_complete(&self) -> bool {
        self.choices.iter().all(Option::is_some)
    }

    pub(crate) fn prompt_tokens(&self) -> usize {
        self.prompts.iter().sum()
    }

    pub(crate) fn completion_tokens(&self) -> usize {
        self.closed().map(|usage| usage.completion_tokens).sum()
    }

    /// A prompt counts once for all of its choices: its cached tokens are those that the first choice
    /// to compute it found.
    pub(crate) fn cached_tokens(&self) -> usize {
        let cached = |prompt: &[Option<ChoiceUsage>]| {
            let closed = prompt.iter().flatten();
            closed.map(|usage| usage.cached_tokens).min().unwrap_or(0)
        };
        self.choices.chunks(self.n.max(1)).map(cached).sum()
    }

    /// Rounded to picoseconds, so that the answer and the ledger agree exactly.
    pub(crate) fn device_time(&self) -> Picoseconds {
        self.device_time_of(|device| device.seconds)
    }

    /// A part of the device time of each choice, summed.
    pub(crate) fn device_time_of(&self, part: impl Fn(&DeviceUsage) -> f64) -> Picoseconds {
        let devices = self.closed().filter_map(|usage| usage.device.as_ref());
        // Not `sum`, whose identity is -0.0.
        Picoseconds::from_seconds(devices.fold(0.0, |sum, device| sum + part(device)))
    }

    /// How the device time was split: the least exact way that any choice had.
    pub(crate) fn basis(&self) -> Basis {
        let bases = self.closed().filter_map(|usage| Some(usage.device?.basis));
        bases.max().unwrap_or_default()
    }

    /// Until the first step of any choice.
    pub(crate) fn queue_seconds(&self) -> Option<f64> {
        let waits = self
            .closed()
            .filter_map(|usage| Some(usage.phases?.queue_seconds));
        waits.min_by(f64::total_cmp)
    }

    fn closed(&self) -> impl Iterator<Item = &ChoiceUsage> {
        self.choices.iter().flatten()
    }
}
