//! Decides how many tokens each sequence computes in a step, and which cache blocks hold them.
//!
//! There is no prefill phase and no decode phase: each sequence has `num_computed` tokens that must
//! catch up with its length. The scheduler is pure: it reads no clock, never waits, decodes no text
//! and touches no tensor.
//!
//! A step is [`Scheduler::schedule`], then the computation, then [`Scheduler::commit`] with the
//! results, or [`Scheduler::fail`].

mod scheduler;

mod batch;
mod ids;
mod output;
mod sampling;
mod sequence;

mod block_manager;
mod block_table;
mod error;
mod fair_share;
mod length;

pub use batch::{Batch, BatchRow, SampleRow};
pub use error::{AdmissionError, ConfigError};
pub use ids::{AdapterId, BlockId, CacheSalt, SequenceId};
pub use output::SequenceOutput;
pub use sampling::{SampledToken, SamplingParams, TokenLogprob, TokenLogprobs};
pub use scheduler::{Scheduler, SchedulerConfig, SchedulerStats};
pub use sequence::{FinishReason, SequenceRequest};
