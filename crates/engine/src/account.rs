//! What one sequence has used so far.

use std::time::Instant;

use crate::GenerationUsage;

/// Tokens, device seconds and the moments that latencies are measured between.
pub(crate) struct Account {
    pub prompt_tokens: usize,
    pub cached_tokens: usize,
    pub completion_tokens: usize,
    pub device_seconds: f64,
    pub preemptions: usize,
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
            arrived: Instant::now(),
            first_step: None,
            first_token: None,
            last_token: None,
        }
    }

    /// Adds the share of a step that began at `step_started`.
    pub(crate) fn charge(&mut self, device_seconds: f64, step_started: Instant) {
        self.device_seconds += device_seconds;
        self.first_step.get_or_insert(step_started);
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
            queue_seconds: between(Some(self.arrived), self.first_step),
            prefill_seconds: between(self.first_step, self.first_token),
            decode_seconds: between(self.first_token, self.last_token),
            preemptions: self.preemptions,
        }
    }
}
