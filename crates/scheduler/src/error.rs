//! Errors of the scheduler.

use crate::SequenceId;

/// A configuration that cannot run any sequence.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// A limit is 0.
    #[error("{field} is 0: it must be at least 1")]
    Zero {
        /// The field of [`crate::SchedulerConfig`].
        field: &'static str,
    },
    /// There are more blocks than 32-bit block ids.
    #[error("num_blocks is {num_blocks}: block ids have 32 bits; use larger blocks")]
    TooManyBlocks {
        /// The configured number.
        num_blocks: usize,
    },
}

/// A sequence that can never run. The scheduler has not stored it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AdmissionError {
    /// The prompt has no tokens.
    #[error("the prompt is empty: it needs at least one token")]
    EmptyPrompt,
    /// Prompt and one generated token exceed the context.
    #[error(
        "the prompt has {prompt_tokens} tokens, but the context holds {max_model_len} and one of \
         them is for the answer: shorten the prompt to {} tokens", max_model_len - 1
    )]
    PromptTooLong {
        /// Tokens of the prompt.
        prompt_tokens: usize,
        /// Maximum tokens of prompt and answer together.
        max_model_len: usize,
    },
    /// The sequence does not fit the cache, even alone.
    #[error(
        "the prompt's {prompt_tokens} tokens and max_tokens of {max_tokens} need {needed} cache \
         blocks of {block_size} tokens, but there are {num_blocks}: shorten the prompt, lower \
         max_tokens or give the cache more memory"
    )]
    TooManyBlocks {
        /// Tokens of the prompt.
        prompt_tokens: usize,
        /// The requested maximum.
        max_tokens: usize,
        /// Blocks at its maximum length.
        needed: usize,
        /// Tokens per block.
        block_size: usize,
        /// Blocks of the cache.
        num_blocks: usize,
    },
    /// The sequence needs an adapter, but `max_adapters` is 0.
    #[error("the sequence asks for an adapter, but max_adapters is 0")]
    NoAdapters,
    /// Another sequence has this id.
    #[error("sequence {} is already here: ids are used once", .0.0)]
    DuplicateId(SequenceId),
}
