//! The result of a step for one sequence.

use crate::{FinishReason, SampledToken, SequenceId};

/// The result of one row of a batch.
#[derive(Clone, Debug, PartialEq)]
pub struct SequenceOutput {
    /// The sequence of the row.
    pub sequence: SequenceId,
    /// The sampled token and the log-probabilities. There is no token if the row only filled the
    /// cache. Log-probabilities of prompt tokens that an earlier step returned are left out (a
    /// preempted sequence computes its prompt again). Empty if the sequence was aborted or failed.
    pub sampled: SampledToken,
    /// Why the sequence ended in this step; its blocks are free. `None` while it runs.
    pub finished: Option<FinishReason>,
    /// How often the sequence was preempted.
    pub preemptions: usize,
}
