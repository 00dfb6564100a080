//! Messages between callers and the engine thread.

use std::sync::Arc;

use farthing_model::LoraAdapter;
use farthing_scheduler::{AdapterId, SequenceId, SequenceRequest};
use tokio::sync::mpsc::UnboundedSender;

use crate::mailbox::EventSender;
use crate::queue_places::Place;
use crate::{DeviceBudget, Receipt};

/// A message from a caller to the engine thread.
pub(crate) enum Command {
    /// Compute a sequence.
    Start(NewSequence),
    /// A stop string was found, so the sequence is complete. Its seconds count as used.
    Stop(SequenceId),
    /// The caller left. The sequence's seconds count as aborted.
    Abort(SequenceId),
    /// All time until now was warm-up.
    EndWarmUp,
    /// Copy an adapter to the device if a slot is free.
    Prefetch(Arc<LoraAdapter>),
    /// Free an adapter's slot once no sequence uses it.
    Retire(AdapterId),
}

/// A sequence and the channels of its caller.
pub(crate) struct NewSequence {
    pub sequence: SequenceRequest,
    /// The adapter that `sequence` names.
    pub adapter: Option<Arc<LoraAdapter>>,
    /// Index of the choice within the request.
    pub index: usize,
    pub events: EventSender,
    pub receipts: Option<UnboundedSender<Receipt>>,
    pub budget: Option<Arc<DeviceBudget>>,
    /// Held until the sequence ends, whether or not its caller has read the answer.
    pub place: Place,
}
