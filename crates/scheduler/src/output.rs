//! What a step brought to one sequence.

use crate::{FinishReason, SampledToken, SequenceId};

/// The outcome of one row of a batch: what its caller is told and what closes its account.
#[derive(Clone, Debug, PartialEq)]
pub struct SequenceOutput {
    /// Whose row it was.
    pub sequence: SequenceId,
    /// What the row told: no token where it only filled the cache, and no prompt token that an
    /// earlier step told already (a preempted sequence computes its prompt again). Empty for a
    /// sequence that was aborted or failed.
    pub sampled: SampledToken,
    /// Why the sequence ended with this step, its blocks given back; `None` while it lives.
    pub finished: Option<FinishReason>,
    /// How often it was sent back to wait for want of blocks.
    pub preemptions: usize,
}
