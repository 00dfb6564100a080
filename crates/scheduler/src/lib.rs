//! Decides how many tokens each sequence computes this step and which cache blocks hold them.
//!
//! There is no prefill phase and no decode phase: each sequence has `num_computed` tokens that
//! must catch up with its length. The scheduler is pure: it never reads a clock, waits, decodes
//! text or touches a tensor.

mod batch;
mod sampling;
mod sequence;

pub use batch::{Batch, BatchRow, BlockId, SampleRow};
pub use sampling::{SampledToken, SamplingParams, TokenLogprob, TokenLogprobs};
pub use sequence::{AdapterId, FinishReason, SequenceId, SequenceRequest};
