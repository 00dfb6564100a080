//! A vendor's events as those of a provider.

use std::collections::VecDeque;
use std::sync::Arc;

use farthing_api::{ChatLogprobs, FinishReason, FunctionDelta, ToolCallDelta};
use farthing_vendors::{VendorError, VendorEvent, VendorEvents, VendorFinish, VendorPiece};
use futures_util::{StreamExt, stream};

use super::vendor_record::SharedAccount;
use crate::request::ChoiceUsage;
use crate::request::provider::{
    ChatEvent, Extra, Piece, ProviderEvent, ProviderStream, RequestRead,
};
use crate::request::provider_error::{ProviderError, VendorFailure};

/// The events of one attempt. `Accepted` comes when the vendor begins to answer, the ends of the choices
/// after its end marker, when its account is known.
pub(super) fn provider_events(
    vendor: Arc<str>,
    events: VendorEvents,
    account: SharedAccount,
) -> ProviderStream<ChatLogprobs> {
    let state = State {
        vendor,
        events: Some(events),
        account,
        ready: VecDeque::new(),
        has_begun: false,
        finished: Vec::new(),
    };
    stream::unfold(state, |mut state| async {
        Some((state.next().await?, state))
    })
    .boxed()
}

struct State {
    vendor: Arc<str>,
    /// `None` after the end.
    events: Option<VendorEvents>,
    account: SharedAccount,
    /// Events that come before the vendor's next.
    ready: VecDeque<ChatEvent>,
    has_begun: bool,
    /// The choices that have ended.
    finished: Vec<(usize, FinishReason)>,
}

impl State {
    async fn next(&mut self) -> Option<Result<ChatEvent, ProviderError>> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Some(Ok(event));
            }
            match self.events.as_mut()?.next().await {
                Some(Ok(event)) => {
                    if !std::mem::replace(&mut self.has_begun, true) {
                        self.ready.extend(beginning());
                    }
                    match self.read(event) {
                        Ok(event) => self.ready.extend(event),
                        Err(error) => return Some(Err(self.fail(error))),
                    }
                }
                Some(Err(error)) => return Some(Err(self.fail(error))),
                None => {
                    self.events = None;
                    // The account is closed by now, so that this does not wait.
                    self.account.clone().await;
                    let ends = std::mem::take(&mut self.finished).into_iter();
                    self.ready
                        .extend(ends.map(|(choice, reason)| ProviderEvent::Finished {
                            choice,
                            reason,
                            usage: ChoiceUsage::default(),
                        }));
                }
            }
        }
    }

    fn read(&mut self, event: VendorEvent) -> Result<Option<ChatEvent>, VendorError> {
        Ok(match event {
            VendorEvent::Began { .. } => None,
            VendorEvent::Piece { choice, piece } => Some(content(choice, piece)?),
            VendorEvent::Finished { choice, reason } => {
                let reason = match reason {
                    VendorFinish::Stop => FinishReason::Stop,
                    VendorFinish::Length => FinishReason::Length,
                    VendorFinish::ToolCalls => FinishReason::ToolCalls,
                    VendorFinish::ContentFilter => FinishReason::ContentFilter,
                };
                self.finished.push((choice, reason));
                None
            }
        })
    }

    /// Dropping the vendor's events closes the connection.
    fn fail(&mut self, error: VendorError) -> ProviderError {
        self.events = None;
        let vendor = self.vendor.to_string();
        ProviderError::Vendor(Box::new(VendorFailure { vendor, error }))
    }
}

fn beginning() -> [ChatEvent; 2] {
    let read = RequestRead {
        adapter: None,
        prompt_tokens: Vec::new(),
        accounts: stream::empty().boxed(),
    };
    [ProviderEvent::Read(read), ProviderEvent::Accepted]
}

/// A vendor does not tell tokens: each piece counts as one for the times between them.
fn content(choice: usize, piece: VendorPiece) -> Result<ChatEvent, VendorError> {
    let delta = |tokens, piece| ProviderEvent::Delta {
        choice,
        tokens,
        pieces: vec![piece],
    };
    let extra = |extra| ProviderEvent::Extra { choice, extra };
    Ok(match piece {
        VendorPiece::Text(text) => delta(
            1,
            Piece {
                text,
                logprobs: None,
            },
        ),
        VendorPiece::Logprobs(value) => {
            let logprobs: ChatLogprobs =
                serde_json::from_value(value).map_err(|error| VendorError::Malformed {
                    problem: format!("its log-probabilities: {error}"),
                })?;
            let (text, logprobs) = (String::new(), Some(logprobs));
            delta(0, Piece { text, logprobs })
        }
        VendorPiece::Refusal(text) => extra(Extra::Refusal(text)),
        VendorPiece::Reasoning(text) => extra(Extra::Reasoning(text)),
        VendorPiece::ToolCall {
            index,
            id,
            name,
            arguments,
        } => extra(Extra::ToolCall(ToolCallDelta {
            index,
            kind: id.is_some().then_some("function"),
            id,
            function: FunctionDelta { name, arguments },
        })),
    })
}
