//! The statistics that the engine thread publishes after every step.

use std::sync::Arc;
use std::time::Instant;

use farthing_model::AdapterPoolStats;
use farthing_scheduler::AdapterId;

use crate::{DeviceSeconds, StepModel, TokenCounts, TokenSeconds};

/// Counters since the end of the warm-up, and current values. Seconds are device seconds.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct EngineStats {
    /// Running sequences.
    pub running: usize,
    /// Waiting sequences.
    pub waiting: usize,
    /// Waiting sequences whose adapter has no slot.
    pub deferred: usize,
    /// Blocks of the KV cache.
    pub total_blocks: usize,
    /// Blocks that no sequence holds, those with cached prefixes included.
    pub free_blocks: usize,
    /// Prompt tokens looked up in the prefix cache.
    pub prefix_queries: u64,
    /// Prompt tokens found in the prefix cache.
    pub prefix_hits: u64,
    /// How often a sequence was preempted because there were no free blocks.
    pub preemptions: u64,
    /// Completed steps.
    pub steps: u64,
    /// Histogram of the tokens per step.
    pub step_sizes: StepSizes,
    /// How the time was spent.
    pub seconds: DeviceSeconds,
    /// Sum of the shares of all rows: of finished, aborted, failed and open sequences.
    pub attributed_seconds: f64,
    /// The same by class of token, without failed steps.
    pub token_seconds: TokenSeconds,
    /// Sum of the shares of rows in failed steps, which computed no tokens.
    pub failed_step_seconds: f64,
    /// The tokens that `token_seconds` were spent on.
    pub tokens: TokenCounts,
    /// Sum of the step model's predictions for all steps.
    pub expected_seconds: f64,
    /// The model that predicts how long steps take.
    pub step_model: StepModel,
    /// Sum of the seconds of steps that were split by tokens.
    pub seconds_by_tokens: f64,
    /// How often served steps have changed the model since the start.
    pub refits: u64,
    /// Prompt tokens computed, including those computed again after a preemption.
    pub prompt_tokens: u64,
    /// Sampled tokens that were sent to callers.
    pub generation_tokens: u64,
    /// Bytes of generated tokens that callers have not read.
    pub unread_bytes: usize,
    /// Requests cancelled because too much of their answers was not read.
    pub cut_off_requests: u64,
    /// Adapters with a row in the last batch.
    pub adapters_in_batch: usize,
    /// Adapters of sequences that have had a step, without duplicates.
    pub running_adapters: Arc<[AdapterId]>,
    /// Adapters of sequences that wait for their first step, without duplicates.
    pub waiting_adapters: Arc<[AdapterId]>,
    /// The adapters on the device.
    pub adapter_pool: AdapterPoolStats,
    /// Since when the engine has been idle; `None` while it is not.
    pub idle_since: Option<Instant>,
}

impl EngineStats {
    /// Adds the idle time up to `now`, which the engine books only at its end.
    pub(crate) fn as_of(&self, now: Instant) -> Self {
        let mut stats = self.clone();
        if let Some(since) = self.idle_since {
            let idle = now.saturating_duration_since(since).as_secs_f64();
            stats.seconds.idle += idle;
            stats.seconds.window += idle;
            stats.idle_since = Some(now.max(since));
        }
        stats
    }
}

/// Histogram of the tokens per step.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct StepSizes {
    /// Number of steps per bucket. A bucket holds steps with at most its bound of tokens; the last
    /// one holds all larger steps.
    pub counts: [u64; StepSizes::BOUNDS.len() + 1],
    /// Total tokens of all steps.
    pub tokens: u64,
}

impl StepSizes {
    /// The bounds of vLLM's histogram.
    pub const BOUNDS: [f64; 13] = [
        1.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1_024.0, 2_048.0, 4_096.0, 8_192.0,
        16_384.0,
    ];

    pub(crate) fn count(&mut self, tokens: usize) {
        self.counts[Self::BOUNDS.partition_point(|&bound| bound < tokens as f64)] += 1;
        self.tokens += tokens as u64;
    }
}
