//! The events of one request on their way to the caller, counted and recorded.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;

use farthing_api::{FinishReason, StreamOptions, StreamedUsage, Usage, UsedAdapter};
use futures_util::{StreamExt, stream};

use super::answer_record::AnswerRecord;
use super::observer::AnswerObserver;
use super::provider::{Extra, Piece, ProviderEvent, ProviderStream};
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
    record: Box<dyn AnswerRecord>,
    /// Events that were waited for, but that the caller has not got yet.
    held: VecDeque<Result<AnswerEvent<L>, ApiError>>,
    /// Leaves when the answer is complete.
    observer: Option<Box<dyn AnswerObserver>>,
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
    /// More of a choice that is not text.
    Extra { choice: usize, extra: Extra },
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
        record: impl AnswerRecord + 'static,
        lifecycle: Lifecycle,
    ) -> Result<Self, ApiError> {
        let mut answer = Self {
            id: record.id().to_owned(),
            created: unix_seconds(),
            model: record.model().to_owned(),
            adapter: None,
            events,
            record: Box::new(record),
            held: VecDeque::new(),
            observer: None,
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

    /// Waits until there is something of the answer, or all of it. Until then another provider may answer
    /// instead, and the caller has seen nothing.
    ///
    /// # Errors
    /// The answer failed before.
    pub(crate) async fn content(&mut self) -> Result<(), ApiError> {
        loop {
            let event = match self.receive().await {
                Some(Err(error)) => return Err(error),
                Some(Ok(event)) => event,
                None => return Ok(()),
            };
            let is_content = match &event {
                AnswerEvent::Delta { pieces, .. } => pieces.iter().any(|it| !it.text.is_empty()),
                AnswerEvent::Extra { .. } => true,
                AnswerEvent::Finished { .. } => false,
            };
            self.held.push_back(Ok(event));
            if is_content {
                return Ok(());
            }
        }
    }

    /// Shows the answer to `observer`, from its first event on.
    pub(crate) fn observed_by(mut self, observer: impl AnswerObserver + 'static) -> Self {
        self.observer = Some(Box::new(observer));
        self
    }

    /// Receives the rest of an answer that nobody gets.
    ///
    /// # Errors
    /// The answer fails.
    pub(crate) async fn drain(mut self) -> Result<(), ApiError> {
        while let Some(event) = self.next().await {
            event?;
        }
        Ok(())
    }

    /// The next event; `None` after all choices have ended. Nothing follows an error.
    pub(super) async fn next(&mut self) -> Option<Result<AnswerEvent<L>, ApiError>> {
        let next = match self.held.pop_front() {
            None => self.receive().await,
            held => held,
        };
        match &next {
            Some(Ok(AnswerEvent::Delta { choice, pieces })) => {
                if let Some(observer) = &mut self.observer {
                    pieces
                        .iter()
                        .for_each(|piece| observer.text(*choice, &piece.text));
                }
            }
            None if self.record.is_over() => {
                if let Some(observer) = self.observer.take() {
                    observer.complete();
                }
            }
            _ => {}
        }
        next
    }

    async fn receive(&mut self) -> Option<Result<AnswerEvent<L>, ApiError>> {
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
            Some(Ok(ProviderEvent::Extra { choice, extra })) => {
                self.record.count_tokens(choice, 1);
                Ok(AnswerEvent::Extra { choice, extra })
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
