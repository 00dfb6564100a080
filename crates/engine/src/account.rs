//! What one sequence has used so far.

use std::time::Instant;

use farthing_scheduler::BatchRow;

use crate::{GenerationUsage, SplitBasis, TokenCounts, TokenSeconds};

/// Tokens, device seconds and the times that latencies are computed from.
pub(crate) struct Account {
    pub prompt_tokens: usize,
    /// Set when the first step is planned.
    pub cached_tokens: usize,
    pub completion_tokens: usize,
    pub device_seconds: f64,
    pub preemptions: usize,
    token_seconds: TokenSeconds,
    /// [`SplitBasis::Tokens`] if any step was split by tokens.
    basis: SplitBasis,
    /// How many prompt tokens were computed or found in the cache so far.
    prompt_known: usize,
    arrived: Instant,
    first_step: Option<Instant>,
    first_token: Option<Instant>,
    last_token: Option<Instant>,
}

impl Account {
    pub(crate) fn open(prompt_tokens: usize) -> Self {
        Self {
            prompt_tokens,
            cached_tokens: 0,
            completion_tokens: 0,
            device_seconds: 0.0,
            preemptions: 0,
            token_seconds: TokenSeconds::default(),
            basis: SplitBasis::default(),
            prompt_known: 0,
            arrived: Instant::now(),
            first_step: None,
            first_token: None,
            last_token: None,
        }
    }

    /// Records the first step. The row's start is the number of cached tokens.
    pub(crate) fn begin(&mut self, row: &BatchRow, step_started: Instant) {
        if self.first_step.is_none() {
            self.first_step = Some(step_started);
            self.cached_tokens = row.start;
        }
    }

    /// Whether a first step was planned.
    pub(crate) fn has_begun(&self) -> bool {
        self.first_step.is_some()
    }

    /// Records how a charged step was split.
    pub(crate) fn note_basis(&mut self, basis: SplitBasis) {
        self.basis = self.basis.max(basis);
    }

    /// Adds a row's share of a failed step.
    pub(crate) fn charge_failure(&mut self, share: TokenSeconds) {
        self.device_seconds += share.total();
    }

    /// Adds a row's share of a step, and returns the tokens that the row computed for the first
    /// time.
    pub(crate) fn charge(&mut self, row: &BatchRow, share: TokenSeconds) -> TokenCounts {
        self.device_seconds += share.total();
        self.token_seconds += share;
        let cached = match self.prompt_known {
            0 => self.cached_tokens,
            _ => 0,
        };
        let known = self.prompt_known.max(self.cached_tokens);
        self.prompt_known = match row.prompt_tokens {
            0 => known,
            new => known.max(row.start + new),
        };
        TokenCounts {
            input: (self.prompt_known - known) as u64,
            cached: cached as u64,
            output: u64::from(row.sample.is_some()),
        }
    }

    /// Resets the charged seconds.
    pub(crate) fn forget_seconds(&mut self) {
        self.device_seconds = 0.0;
        self.token_seconds = TokenSeconds::default();
        self.basis = SplitBasis::default();
    }

    pub(crate) fn count_token(&mut self, sampled_at: Instant) {
        self.completion_tokens += 1;
        self.first_token.get_or_insert(sampled_at);
        self.last_token = Some(sampled_at);
    }

    pub(crate) fn usage(&self) -> GenerationUsage {
        let between = |from: Option<Instant>, to: Option<Instant>| match (from, to) {
            (Some(from), Some(to)) => to.saturating_duration_since(from).as_secs_f64(),
            _ => 0.0,
        };
        GenerationUsage {
            prompt_tokens: self.prompt_tokens,
            cached_tokens: self.cached_tokens,
            completion_tokens: self.completion_tokens,
            device_seconds: self.device_seconds,
            token_seconds: self.token_seconds,
            basis: self.basis,
            queue_seconds: between(Some(self.arrived), self.first_step),
            prefill_seconds: between(self.first_step, self.first_token),
            decode_seconds: between(self.first_token, self.last_token),
            preemptions: self.preemptions,
        }
    }
}
