//! What crosses between callers and the engine thread.

use farthing_scheduler::{FinishReason, SampledToken, SequenceId, SequenceRequest};
use tokio::sync::mpsc::UnboundedSender;

use crate::{GenerationUsage, Receipt};

/// From a caller to the engine thread.
pub(crate) enum Command {
    /// Compute a sequence.
    Start(NewSequence),
    /// The caller has all it wants: a stop string was found. The seconds stay the caller's.
    Stop(SequenceId),
    /// The caller is gone: the seconds go to the aborted.
    Abort(SequenceId),
    /// All seconds so far were warm-up.
    EndWarmUp,
}

/// A sequence and whom to tell.
pub(crate) struct NewSequence {
    pub sequence: SequenceRequest,
    /// Which of the caller's choices it is.
    pub index: usize,
    pub events: UnboundedSender<SequenceEvent>,
    pub receipts: Option<UnboundedSender<Receipt>>,
}

/// From the engine thread to a caller.
pub(crate) enum SequenceEvent {
    /// A step of choice `index`.
    Progress { index: usize, sampled: SampledToken },
    /// The end of choice `index`.
    Finished {
        index: usize,
        reason: FinishReason,
        usage: GenerationUsage,
    },
    /// The engine failed choice `index`.
    Failed { message: String },
}
