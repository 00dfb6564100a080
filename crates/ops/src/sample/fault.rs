//! Why a row cannot be sampled.

use super::Sampled;

/// The result of one row.
pub type SampleResult = Result<Sampled, SampleFault>;

/// Why one row has no token. Other rows of the step are not affected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SampleFault {
    /// The model computed a NaN, or a penalty or bias made one.
    #[error("its logits contain a NaN")]
    Nan,
    /// The highest logit is infinite.
    #[error("its highest logit is not finite")]
    NotFinite,
    /// A token of the row's lists is not in the vocabulary.
    #[error("token {token} is outside the vocabulary of {vocab} tokens")]
    UnknownToken {
        /// The token.
        token: u32,
        /// Number of tokens of the vocabulary.
        vocab: usize,
    },
    /// The logits changed while they were read.
    #[error("two passes over its logits disagree")]
    Unsteady,
}
