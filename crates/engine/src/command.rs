//! What crosses between callers and the engine thread.

use std::sync::Arc;

use farthing_model::LoraAdapter;
use farthing_scheduler::{AdapterId, FinishReason, SampledToken, SequenceId, SequenceRequest};
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
    /// Bring an adapter to the device, where there is room.
    Prefetch(Arc<LoraAdapter>),
    /// Let an adapter go, once nobody uses it.
    Retire(AdapterId),
}

/// A sequence and whom to tell.
pub(crate) struct NewSequence {
    pub sequence: SequenceRequest,
    /// The one that `sequence` names.
    pub adapter: Option<Arc<LoraAdapter>>,
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
