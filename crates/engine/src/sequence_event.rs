//! What the engine thread says about a sequence.

use farthing_scheduler::{FinishReason, SampledToken};

use crate::GenerationUsage;

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
