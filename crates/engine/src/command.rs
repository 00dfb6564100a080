//! Messages between callers and the engine thread.

use std::sync::Arc;

use farthing_model::LoraAdapter;
use farthing_scheduler::{AdapterId, FinishReason, SampledToken, SequenceId, SequenceRequest};
use tokio::sync::mpsc::UnboundedSender;

use crate::mailbox::EventSender;
use crate::queue_places::Place;
use crate::{DeviceBudget, GenerationUsage, Receipt};

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

/// A message from the engine thread to a caller.
pub(crate) enum SequenceEvent {
    /// The result of one step for choice `index`.
    Progress { index: usize, sampled: SampledToken },
    /// Choice `index` ended.
    Finished {
        index: usize,
        reason: FinishReason,
        usage: GenerationUsage,
    },
    /// The request's budget is used up.
    OverBudget,
    /// The engine failed the request.
    Failed { message: String },
    /// The request was cancelled because its caller read too slowly.
    CutOff,
}

impl SequenceEvent {
    /// The memory that it takes while it waits.
    pub(crate) fn bytes(&self) -> usize {
        let behind = match self {
            Self::Progress { sampled, .. } => {
                let of_prompt = sampled.prompt_logprobs.iter();
                let alternatives = of_prompt.chain(&sampled.logprobs);
                let alternatives = alternatives.map(|it| size_of_val(it.top.as_slice()));
                size_of_val(sampled.prompt_logprobs.as_slice()) + alternatives.sum::<usize>()
            }
            Self::Failed { message } => message.len(),
            Self::Finished { .. } | Self::OverBudget | Self::CutOff => 0,
        };
        size_of::<Self>() + behind
    }
}
