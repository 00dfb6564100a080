//! A sequence: token ids, how many of them are computed, and the blocks that hold them.

use std::sync::Arc;

use crate::SamplingParams;

/// Names a sequence for its whole life; never used twice by one process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SequenceId(pub u64);

/// SHA-256 of an adapter's config and weights: what it is, not what it is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AdapterId(pub [u8; 32]);

/// Why a sequence ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FinishReason {
    /// It sampled one of its stop tokens.
    Stop,
    /// It reached `max_tokens` or the context's end.
    Length,
    /// Its caller went away or found a stop string.
    Abort,
    /// Its step failed.
    Error,
}

/// A sequence as its caller asks for it.
#[derive(Clone, Debug)]
pub struct SequenceRequest {
    /// Chosen by the caller, unique.
    pub id: SequenceId,
    /// Token ids; never empty.
    pub prompt: Vec<u32>,
    /// The adapter, or none for the base model.
    pub adapter: Option<AdapterId>,
    /// How to sample.
    pub params: Arc<SamplingParams>,
    /// End after this many generated tokens.
    pub max_tokens: usize,
    /// End after any of these (they count as generated); empty with `ignore_eos`.
    pub stop_token_ids: Arc<[u32]>,
    /// Log-probabilities of the prompt's own tokens: how many alternatives to tell of each. The
    /// prefix cache is not read for such a sequence, since cached tokens have no logits.
    pub prompt_logprobs: Option<usize>,
}
