//! The events of one request on their way to the caller, counted and recorded.

use std::future::Future;
use std::pin::Pin;

use farthing_api::{FinishReason, StreamOptions, StreamedUsage, Usage, UsedAdapter};
use futures_util::{StreamExt, stream};

use super::provider::{Piece, ProviderEvent, ProviderStream};
use super::record::RequestRecord;
use crate::clock::unix_seconds;
use crate::http::error::ApiError;
use crate::lifecycle::Lifecycle;

/// The value of OpenAI's `system_fingerprint`.
pub(super) const FINGERPRINT: &str = concat!("farthing-", env!("CARGO_PKG_VERSION"));

/// An accepted request. Dropping it cancels what still runs.
pub(crate) struct Answer<L> {
    pub(super) id: String,
    /// Unix seconds.
    pub(super) created: u64,
    /// The model, as the request named it.
    pub(super) model: String,
    /// The adapter that computes the answer.
    pub(super) adapter: Option<UsedAdapter>,
    events: ProviderStream<L>,
    record: RequestRecord,
    /// Completes when running requests are cut off. It is registered once, not for each token.
    cut_off: Pin<Box<dyn Future<Output = ()> + Send>>,
}

/// One event. The index of a choice counts over all prompts.
pub(super) enum AnswerEvent<L> {
    /// More of a choice.
    Delta {
        choice: usize,
        pieces: Vec<Piece<L>>,
    },
    /// A choice ended.
    Finished { choice: usize, reason: FinishReason },
}

impl<L: Send + 'static> Answer<L> {
    /// Waits until the provider accepts the request.
    ///
    /// # Errors
    /// The request is refused.
    pub(crate) async fn accepted(
        events: ProviderStream<L>,
        record: RequestRecord,
        lifecycle: Lifecycle,
    ) -> Result<Self, ApiError> {
        let mut answer = Self {
            id: record.id().to_owned(),
            created: unix_seconds(),
            model: record.model().to_owned(),
            adapter: None,
            events,
            record,
            cut_off: Box::pin(async move { lifecycle.cutting_off().await }),
        };
        loop {
            match answer.events.next().await {
                Some(Ok(ProviderEvent::Read(read))) => answer.record.read(read),
                Some(Ok(ProviderEvent::Accepted)) => break,
                Some(Err(error)) => {
                    answer.record.count_refusal(&error);
                    return Err(answer.fail(error.into()));
                }
                Some(Ok(_)) | None => return Err(answer.fail(ended_early())),
            }
        }
        answer.record.accept();
        answer.adapter = answer.record.adapter().cloned();
        Ok(answer)
    }

    /// The next event; `None` after all choices have ended. Nothing follows an error.
    pub(super) async fn next(&mut self) -> Option<Result<AnswerEvent<L>, ApiError>> {
        if self.record.is_over() {
            return None;
        }
        let next = tokio::select! {
            biased;
            () = &mut self.cut_off => return Some(Err(self.fail(ApiError::ShuttingDown))),
            event = self.events.next() => event,
        };
        Some(match next {
            Some(Ok(ProviderEvent::Delta {
                choice,
                tokens,
                pieces,
            })) => {
                self.record.count_tokens(choice, tokens);
                Ok(AnswerEvent::Delta { choice, pieces })
            }
            Some(Ok(ProviderEvent::Finished {
                choice,
                reason,
                usage,
            })) => {
                self.record.finish_choice(choice, reason, usage);
                Ok(AnswerEvent::Finished { choice, reason })
            }
            Some(Err(error)) => Err(self.fail(error.into())),
            Some(Ok(ProviderEvent::Read(_) | ProviderEvent::Accepted)) | None => {
                Err(self.fail(ended_early()))
            }
        })
    }

    /// The usage of the whole answer; complete once [`next`](Self::next) has returned `None`.
    pub(super) fn usage(&self) -> Usage {
        self.record.usage()
    }

    /// The usage in a chunk before the last.
    pub(super) fn usage_so_far(&self, options: StreamOptions) -> StreamedUsage {
        if options.continuous_usage_stats {
            StreamedUsage::SoFar(self.record.tokens_so_far())
        } else if options.include_usage {
            StreamedUsage::Later
        } else {
            StreamedUsage::NotAsked
        }
    }

    /// Records the failure and cancels what still runs of the request.
    pub(super) fn fail(&mut self, error: ApiError) -> ApiError {
        self.events = stream::empty().boxed();
        self.record.fail(&error);
        error
    }
}

fn ended_early() -> ApiError {
    ApiError::Failed("the answer ended early".to_owned())
}
