//! From the engine's events to those of a provider.

use farthing_api::{ByToken, FinishReason};
use farthing_engine::{GeneratedToken, GenerationEvent, GenerationUsage, PromptToken};
use farthing_scheduler::FinishReason as EngineReason;

use crate::costs::basis;
use crate::request::choice_usage::{ChoiceUsage, DeviceUsage, Phases};
use crate::request::provider::ProviderEvent;
use crate::request::provider_error::ProviderError;

/// What differs between chats and completions.
pub(super) trait RenderEvents<L>: Send {
    /// The tokens of a prompt, before any of its choices begins.
    fn prompt(&mut self, prompt: usize, tokens: Vec<PromptToken>);

    /// A choice gained text or tokens.
    fn delta(
        &mut self,
        choice: usize,
        text: String,
        tokens: &[GeneratedToken],
    ) -> Vec<ProviderEvent<L>>;

    /// What remains to be sent before the end of a choice.
    fn before_end(&mut self, choice: usize) -> Vec<ProviderEvent<L>>;
}

/// The events that an event of prompt number `prompt` becomes; there are `n` choices per prompt.
pub(super) fn render<L>(
    renderer: &mut impl RenderEvents<L>,
    n: usize,
    prompt: usize,
    event: GenerationEvent,
) -> Vec<Result<ProviderEvent<L>, ProviderError>> {
    let events = match event {
        GenerationEvent::Prompt(tokens) => {
            renderer.prompt(prompt, tokens);
            Vec::new()
        }
        GenerationEvent::Delta {
            index,
            text,
            tokens,
        } => renderer.delta(prompt * n + index, text, &tokens),
        GenerationEvent::Finished {
            index,
            reason,
            usage,
        } => {
            let choice = prompt * n + index;
            let reason = match reason {
                EngineReason::Stop => FinishReason::Stop,
                EngineReason::Length => FinishReason::Length,
                EngineReason::Abort | EngineReason::Error => {
                    let message = "it ended a sequence before the answer was complete".to_owned();
                    return vec![Err(ProviderError::Failed(message))];
                }
            };
            let mut events = renderer.before_end(choice);
            events.push(ProviderEvent::Finished {
                choice,
                reason,
                usage: choice_usage(&usage),
            });
            events
        }
        GenerationEvent::OverBudget => return vec![Err(ProviderError::OverBudget)],
        GenerationEvent::Failed { message } => return vec![Err(ProviderError::Failed(message))],
        GenerationEvent::CutOff => return vec![Err(ProviderError::NotRead)],
    };
    events.into_iter().map(Ok).collect()
}

pub(super) fn choice_usage(usage: &GenerationUsage) -> ChoiceUsage {
    let seconds = usage.token_seconds;
    ChoiceUsage {
        prompt_tokens: usage.prompt_tokens,
        cached_tokens: usage.cached_tokens,
        completion_tokens: usage.completion_tokens,
        device: Some(DeviceUsage {
            seconds: usage.device_seconds,
            by_class: ByToken {
                input: seconds.input,
                cached: seconds.cached,
                output: seconds.output,
            },
            basis: basis(usage.basis),
        }),
        phases: Some(Phases {
            queue_seconds: usage.queue_seconds,
            prefill_seconds: usage.prefill_seconds,
            decode_seconds: usage.decode_seconds,
            preemptions: usage.preemptions,
        }),
    }
}

/// JSON has no infinity: OpenAI writes -9999 for a token that cannot occur.
pub(super) fn finite(logprob: f32) -> f32 {
    logprob.max(-9999.0)
}
