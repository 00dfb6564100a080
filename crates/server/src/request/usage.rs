//! What the choices of one request used, added up.

use farthing_engine::{GenerationUsage, SplitBasis};
use farthing_ledger::Picoseconds;

/// Prompts, and the accounts of their choices as far as they are closed.
#[derive(Clone, Debug, Default)]
pub(crate) struct RequestUsage {
    /// Tokens of each prompt.
    prompts: Vec<usize>,
    /// Choices a prompt.
    n: usize,
    /// Prompt by prompt.
    choices: Vec<Option<GenerationUsage>>,
}

impl RequestUsage {
    /// With the tokens of each prompt, and `n` choices for each.
    pub(crate) fn new(prompts: Vec<usize>, n: usize) -> Self {
        let choices = vec![None; n * prompts.len()];
        Self {
            prompts,
            n,
            choices,
        }
    }

    /// Choices over all prompts.
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

    pub(crate) fn close(&mut self, choice: usize, usage: GenerationUsage) {
        self.choices[choice] = Some(usage);
    }

    /// A choice whose answer was told keeps the account that it was told with.
    pub(crate) fn close_if_open(&mut self, prompt: usize, index: usize, usage: GenerationUsage) {
        self.choices[prompt * self.n + index].get_or_insert(usage);
    }

    pub(crate) fn is_complete(&self) -> bool {
        self.choices.iter().all(Option::is_some)
    }

    pub(crate) fn is_prompt_complete(&self, prompt: usize) -> bool {
        let choices = self.choices.chunks(self.n).nth(prompt);
        choices.into_iter().flatten().all(Option::is_some)
    }

    pub(crate) fn prompt_tokens(&self) -> usize {
        self.prompts.iter().sum()
    }

    pub(crate) fn completion_tokens(&self) -> usize {
        self.closed().map(|usage| usage.completion_tokens).sum()
    }

    /// A prompt counts once, however many choices go on from it: of its tokens those are cached
    /// that the first choice to compute it found.
    pub(crate) fn cached_tokens(&self) -> usize {
        let cached = |prompt: &[Option<GenerationUsage>]| {
            let closed = prompt.iter().flatten();
            closed.map(|usage| usage.cached_tokens).min().unwrap_or(0)
        };
        self.choices.chunks(self.n.max(1)).map(cached).sum()
    }

    /// What an answer tells and the ledger keeps: to the same picosecond.
    pub(crate) fn device_time(&self) -> Picoseconds {
        Picoseconds::from_seconds(self.sum(|usage| usage.device_seconds))
    }

    /// What the device's time was split by: the less exact one, where it was by both.
    pub(crate) fn basis(&self) -> SplitBasis {
        let bases = self.closed().map(|usage| usage.basis);
        bases.max().unwrap_or_default()
    }

    /// Until the first step of any choice.
    pub(crate) fn queue_seconds(&self) -> Option<f64> {
        let waits = self.closed().map(|usage| usage.queue_seconds);
        waits.min_by(f64::total_cmp)
    }

    pub(crate) fn sum(&self, seconds: impl Fn(&GenerationUsage) -> f64) -> f64 {
        // Not `sum`, whose nothing is -0.0.
        self.closed().fold(0.0, |sum, usage| sum + seconds(usage))
    }

    fn closed(&self) -> impl Iterator<Item = &GenerationUsage> {
        self.choices.iter().flatten()
    }
}
