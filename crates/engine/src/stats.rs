//! What the engine thread publishes after every step.

use std::sync::Arc;
use std::time::Instant;

use farthing_model::AdapterPoolStats;
use farthing_scheduler::AdapterId;

use crate::{DeviceSeconds, StepModel, TokenCounts, TokenSeconds};

/// Counters since the door opened and gauges of this moment. Seconds are device seconds.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct EngineStats {
    /// Sequences with a place in the batch.
    pub running: usize,
    /// Sequences waiting for one.
    pub waiting: usize,
    /// Of them those whose adapter finds no room.
    pub deferred: usize,
    /// Blocks of the KV cache.
    pub total_blocks: usize,
    /// Blocks that no sequence holds (cached prefixes included: they can be taken back).
    pub free_blocks: usize,
    /// Prompt tokens looked up in the prefix cache.
    pub prefix_queries: u64,
    /// Prompt tokens found there.
    pub prefix_hits: u64,
    /// Sequences sent back to wait for want of blocks.
    pub preemptions: u64,
    /// Steps done.
    pub steps: u64,
    /// How many tokens they computed.
    pub step_sizes: StepSizes,
    /// Where all the time went.
    pub seconds: DeviceSeconds,
    /// Σ of the shares of all rows, of finished, aborted, failed and open sequences alike.
    pub attributed_seconds: f64,
    /// Of them, by kind of token; the rest are those of steps that failed.
    pub token_seconds: TokenSeconds,
    /// Shares of the rows of steps that failed: they brought no tokens.
    pub failed_step_seconds: f64,
    /// The tokens that `token_seconds` brought.
    pub tokens: TokenCounts,
    /// Σ of what the step model expected of the steps.
    pub expected_seconds: f64,
    /// How long steps take, which their split goes by.
    pub step_model: StepModel,
    /// Σ of the seconds of steps that were split by tokens, since the model did not explain enough.
    pub seconds_by_tokens: f64,
    /// How often the model was changed by what was served, since the start.
    pub refits: u64,
    /// Prompt tokens computed, those computed again after a preemption included.
    pub prompt_tokens: u64,
    /// Tokens sampled whose callers were told.
    pub generation_tokens: u64,
    /// Adapters with a row in the last batch.
    pub adapters_in_batch: usize,
    /// Adapters with a sequence that has begun, each once.
    pub running_adapters: Arc<[AdapterId]>,
    /// Adapters with a sequence that waits for its first step, each once.
    pub waiting_adapters: Arc<[AdapterId]>,
    /// The adapters on the device.
    pub adapter_pool: AdapterPoolStats,
    /// Since when there is nothing to do; none while there is.
    pub idle_since: Option<Instant>,
}

impl EngineStats {
    /// With the idle time up to `now`, which the engine itself books only when it ends.
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

/// Steps counted by how many tokens they computed.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct StepSizes {
    /// Steps of at most as many tokens as the bound of the same index, and more than the one
    /// before; the last counts those above all bounds.
    pub counts: [u64; StepSizes::BOUNDS.len() + 1],
    /// Tokens of all steps together.
    pub tokens: u64,
}

impl StepSizes {
    /// vLLM's bounds.
    pub const BOUNDS: [f64; 13] = [
        1.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1_024.0, 2_048.0, 4_096.0, 8_192.0,
        16_384.0,
    ];

    pub(crate) fn count(&mut self, tokens: usize) {
        self.counts[Self::BOUNDS.partition_point(|&bound| bound < tokens as f64)] += 1;
        self.tokens += tokens as u64;
    }
}
