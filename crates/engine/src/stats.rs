//! What the engine thread publishes after every step.

/// Counters since the start and gauges of this moment. Seconds are device seconds.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct EngineStats {
    /// Sequences with a place in the batch.
    pub running: usize,
    /// Sequences waiting for one.
    pub waiting: usize,
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
    /// Σ of the measured durations of all steps.
    pub step_seconds: f64,
    /// Σ of the shares of all rows, of finished, aborted and failed sequences alike.
    pub attributed_seconds: f64,
    /// The part of `attributed_seconds` that went to sequences whose caller left.
    pub aborted_seconds: f64,
    /// Prompt tokens computed.
    pub prompt_tokens: u64,
    /// Tokens sampled.
    pub generation_tokens: u64,
    /// Adapters with a row in the last batch.
    pub adapters_in_batch: usize,
}
