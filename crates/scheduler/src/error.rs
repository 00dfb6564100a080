//! Why a scheduler or a sequence is refused.

use crate::SequenceId;

/// A configuration that no sequence could run under.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// A limit that has to be at least 1 is 0.
    #[error("{field} is 0: it must be at least 1")]
    Zero {
        /// The field of [`crate::SchedulerConfig`].
        field: &'static str,
    },
    /// Blocks are numbered with 32 bits.
    #[error("num_blocks is {num_blocks}: block ids have 32 bits; use larger blocks")]
    TooManyBlocks {
        /// As asked for.
        num_blocks: usize,
    },
}

/// Why a sequence can never run here; nothing was taken over.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AdmissionError {
    /// There is no token to start from.
    #[error("the prompt is empty: it needs at least one token")]
    EmptyPrompt,
    /// The context has no room for the prompt and one more token.
    #[error(
        "the prompt has {prompt_tokens} tokens, but the context holds {max_model_len} and one of \
         them is for the answer: shorten the prompt to {} tokens", max_model_len - 1
    )]
    PromptTooLong {
        /// Tokens of the prompt.
        prompt_tokens: usize,
        /// Prompt and answer together, at most.
        max_model_len: usize,
    },
    /// Even alone it would outgrow the cache.
    #[error(
        "the prompt's {prompt_tokens} tokens and max_tokens of {max_tokens} need {needed} cache \
         blocks of {block_size} tokens, but there are {num_blocks}: shorten the prompt, lower \
         max_tokens or give the cache more memory"
    )]
    TooManyBlocks {
        /// Tokens of the prompt.
        prompt_tokens: usize,
        /// As asked for.
        max_tokens: usize,
        /// Blocks at its greatest length.
        needed: usize,
        /// Tokens of a block.
        block_size: usize,
        /// Blocks of the cache.
        num_blocks: usize,
    },
    /// It asks for an adapter where `max_adapters` is 0.
    #[error("the sequence asks for an adapter, but max_adapters is 0")]
    NoAdapters,
    /// A living sequence has this id.
    #[error("sequence {} is already here: ids are used once", .0.0)]
    DuplicateId(SequenceId),
}
