//! A plan for one step. It is plain data and shares nothing with the scheduler.

use std::sync::Arc;

use crate::{AdapterId, BlockId, SamplingParams, SequenceId};

/// What to compute in one step. [`crate::Scheduler::commit`] and [`crate::Scheduler::fail`] take it
/// by value, so a plan is used once.
#[derive(Debug)]
pub struct Batch {
    /// One row per sequence, running sequences first.
    pub rows: Vec<BatchRow>,
}

/// The tokens of one sequence that are computed in this step.
#[derive(Debug)]
pub struct BatchRow {
    /// The sequence that the row belongs to.
    pub sequence: SequenceId,
    /// The new tokens of this step, at positions `start .. start + tokens.len()`; never empty.
    pub tokens: Vec<u32>,
    /// Position of the first new token, which is also the number of tokens in the cache.
    pub start: usize,
    /// How many of `tokens` belong to the prompt. The rest were generated; a preempted sequence
    /// computes generated tokens again.
    pub prompt_tokens: usize,
    /// The blocks that hold positions `0 .. start + tokens.len()`, in order.
    pub block_table: Vec<BlockId>,
    /// The adapter of this sequence; `None` for the base model.
    pub adapter: Option<AdapterId>,
    /// Set if the row reaches the end of its sequence, so that the next token is sampled from it.
    pub sample: Option<SampleRow>,
    /// For `echo` with `logprobs`: how many log-probabilities to return for each prompt token that
    /// follows another one.
    pub prompt_logprobs: Option<usize>,
    /// The prompt token after the last of `tokens`, if the prompt continues after this chunk. The
    /// last row of the chunk gives its log-probability.
    pub next_prompt_token: Option<u32>,
}

/// What the sampler needs to know about a sequence.
#[derive(Debug)]
pub struct SampleRow {
    /// Sampling parameters.
    pub params: Arc<SamplingParams>,
    /// All tokens of the sequence so far, prompt first. Empty if no penalty needs them.
    pub history: Vec<u32>,
    /// How many tokens of `history` belong to the prompt.
    pub history_prompt_tokens: usize,
    /// How many tokens were generated before this one. It is the counter of the random number
    /// generator.
    pub position: u64,
}
