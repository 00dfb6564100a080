//! One step's plan as plain data: it shares nothing with the scheduler that made it.

use std::sync::Arc;

use crate::{AdapterId, SamplingParams, SequenceId};

/// Index of a block of the paged KV cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BlockId(pub u32);

/// What to compute in one step. [`crate::Scheduler::commit`] takes it back by value: a plan is
/// used once.
#[derive(Debug)]
pub struct Batch {
    /// One row a sequence, running sequences first.
    pub rows: Vec<BatchRow>,
}

/// The part of one sequence that is computed in this step.
#[derive(Debug)]
pub struct BatchRow {
    /// Whose tokens these are.
    pub sequence: SequenceId,
    /// The new tokens of this step, at positions `start .. start + tokens.len()`; never empty.
    pub tokens: Vec<u32>,
    /// Position of the first new token: how many tokens the cache holds already.
    pub start: usize,
    /// How many of `tokens` belong to the prompt (the rest were generated; after a preemption
    /// generated tokens are recomputed too).
    pub prompt_tokens: usize,
    /// The blocks that hold positions `0 .. start + tokens.len()`, in order.
    pub block_table: Vec<BlockId>,
    /// The adapter of this sequence, or none for the base model.
    pub adapter: Option<AdapterId>,
    /// Whether the row reaches the end of its sequence, so that a token is sampled from it.
    pub sample: Option<SampleRow>,
    /// How many log-probabilities to return for each of `tokens` that follows another token of
    /// the prompt (`echo` with `logprobs`).
    pub prompt_logprobs: Option<usize>,
    /// The token after the last of `tokens` where the prompt goes on beyond this chunk, so that
    /// its log-probability can be told; `None` at the end of the prompt.
    pub next_prompt_token: Option<u32>,
}

/// What the sampler needs to know of a sequence.
#[derive(Debug)]
pub struct SampleRow {
    /// How to sample.
    pub params: Arc<SamplingParams>,
    /// Tokens so far (prompt, then output), where the penalties need them; else empty.
    pub history: Vec<u32>,
    /// How many of `history` are prompt.
    pub history_prompt_tokens: usize,
    /// How many tokens were generated before this one: the counter of the row's random numbers.
    pub position: u64,
}
