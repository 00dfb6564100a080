//! The events of all prompts of one request, merged, metered and recorded.

mod chat;
mod completion;

use std::pin::Pin;

use farthing_api::{FinishReason, StreamOptions, StreamedUsage, Usage, UsedAdapter};
use farthing_engine::{GeneratedToken, GenerationEvent, PromptToken};
use farthing_scheduler::FinishReason as EngineReason;
use futures_util::stream::{SelectAll, Stream, StreamExt};

use crate::clock::unix_seconds;
use crate::http::error::ApiError;
use crate::lifecycle::Lifecycle;
use crate::request::record::RequestRecord;

pub(crate) use chat::ChatAnswer;
pub(crate) use completion::{CompletionAnswer, Echo};

/// Says what made an answer, as OpenAI's `system_fingerprint` does.
const FINGERPRINT: &str = concat!("farthing-", env!("CARGO_PKG_VERSION"));

/// An engine's events with the index of the prompt they belong to.
pub(crate) type PromptEvents = Pin<Box<dyn Stream<Item = (usize, GenerationEvent)> + Send>>;

/// One request on its way. Dropping it aborts what still runs.
pub(crate) struct Answer {
    pub id: String,
    pub created: u64,
    /// As the request named it.
    pub model: String,
    /// The adapter that computes it.
    pub adapter: Option<UsedAdapter>,
    /// Choices a prompt.
    n: usize,
    events: SelectAll<PromptEvents>,
    record: RequestRecord,
    lifecycle: Lifecycle,
}

/// What happened. A choice's index counts over all prompts.
pub(crate) enum AnswerEvent {
    /// The tokens of a prompt, before any of its choices begins.
    Prompt {
        prompt: usize,
        tokens: Vec<PromptToken>,
    },
    /// More of a choice.
    Delta {
        choice: usize,
        text: String,
        tokens: Vec<GeneratedToken>,
    },
    /// A choice ended.
    Finished { choice: usize, reason: FinishReason },
}

impl Answer {
    pub(crate) fn new(
        n: usize,
        events: Vec<PromptEvents>,
        record: RequestRecord,
        lifecycle: Lifecycle,
    ) -> Self {
        Self {
            id: record.id().to_owned(),
            created: unix_seconds(),
            model: record.model().to_owned(),
            adapter: record.adapter(),
            n,
            events: events.into_iter().collect(),
            record,
            lifecycle,
        }
    }

    /// The next event; `None` after all choices have ended. Nothing comes after an error.
    pub(crate) async fn next(&mut self) -> Option<Result<AnswerEvent, ApiError>> {
        if self.record.is_over() {
            return None;
        }
        let next = tokio::select! {
            event = self.events.next() => event,
            () = self.lifecycle.cutting_off() => return Some(Err(self.fail(ApiError::ShuttingDown))),
        };
        match next {
            Some((prompt, event)) => Some(self.take(prompt, event)),
            None => {
                let message = "it ended before the answer did".to_owned();
                Some(Err(self.fail(ApiError::Failed(message))))
            }
        }
    }

    /// What the whole answer took; complete once [`next`](Self::next) has returned `None`.
    pub(crate) fn usage(&self) -> Usage {
        self.record.usage()
    }

    /// What a chunk before the last tells of the usage.
    fn usage_so_far(&self, options: StreamOptions) -> StreamedUsage {
        if options.continuous_usage_stats {
            StreamedUsage::SoFar(self.record.tokens_so_far())
        } else if options.include_usage {
            StreamedUsage::Later
        } else {
            StreamedUsage::NotAsked
        }
    }

    fn take(&mut self, prompt: usize, event: GenerationEvent) -> Result<AnswerEvent, ApiError> {
        match event {
            GenerationEvent::Prompt(tokens) => Ok(AnswerEvent::Prompt { prompt, tokens }),
            GenerationEvent::Delta {
                index,
                text,
                tokens,
            } => {
                let choice = prompt * self.n + index;
                self.record.count_tokens(choice, tokens.len());
                Ok(AnswerEvent::Delta {
                    choice,
                    text,
                    tokens,
                })
            }
            GenerationEvent::Finished {
                index,
                reason,
                usage,
            } => {
                let choice = prompt * self.n + index;
                let reason = match reason {
                    EngineReason::Stop => FinishReason::Stop,
                    EngineReason::Length => FinishReason::Length,
                    EngineReason::Abort | EngineReason::Error => {
                        let message = "it gave up a sequence that was still wanted".to_owned();
                        return Err(self.fail(ApiError::Failed(message)));
                    }
                };
                self.record.finish_choice(choice, reason, usage);
                Ok(AnswerEvent::Finished { choice, reason })
            }
            GenerationEvent::Failed { message } => Err(self.fail(ApiError::Failed(message))),
        }
    }

    /// Ends the request: what else runs of it is aborted.
    fn fail(&mut self, error: ApiError) -> ApiError {
        self.events.clear();
        self.record.fail(&error);
        error
    }
}

/// JSON knows no infinity: OpenAI writes -9999 for a token that cannot come.
fn finite(logprob: f32) -> f32 {
    logprob.max(-9999.0)
}
