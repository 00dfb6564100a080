//! A provider whose answers the test writes down: no engine, no model, no tokenizer.

use std::sync::{Arc, Mutex};

use farthing_api::{
    ChatLogprobs, ChatRequest, CompletionLogprobs, CompletionRequest, TokenizeInput,
};
use farthing_server::{
    App, AppConfig, CostsConfig, Lanes, Piece, Provider, ProviderError, ProviderEvent,
    ProviderFuture, ProviderStream, RequestContext, RequestRead, ServedModels, TextToken,
};
use futures_util::{StreamExt, stream};
use tokio::sync::oneshot;

use crate::wire::{Endpoint, PATIENT};

/// Answers every request with the same events.
#[derive(Default)]
pub(crate) struct StubProvider {
    /// The text of the answer, piece by piece; all pieces of a choice count as one token each.
    pub(crate) pieces: Vec<&'static str>,
    /// What a request is refused with before it is accepted.
    pub(crate) refusal: Option<ProviderError>,
    /// What follows the pieces; without one and without an end the answer goes on for ever.
    pub(crate) last: Option<Last>,
    /// Told when the stream of the next request is dropped.
    pub(crate) cancelled: Mutex<Option<oneshot::Sender<()>>>,
    /// The requests' contexts, in order.
    pub(crate) contexts: Mutex<Vec<RequestContext>>,
}

/// How an answer ends.
#[derive(Clone)]
pub(crate) enum Last {
    Finished(farthing_api::FinishReason, farthing_server::ChoiceUsage),
    Failed(&'static str),
}

impl StubProvider {
    /// Serves the model `remote` without a price.
    pub(crate) async fn serve(self: &Arc<Self>) -> Endpoint {
        Endpoint::serve(Self::app_of(self.clone()), PATIENT).await
    }

    /// The same, to be served.
    pub(crate) fn app(self) -> App {
        Self::app_of(Arc::new(self))
    }

    fn app_of(provider: Arc<Self>) -> App {
        let names = vec!["remote".to_owned()];
        let models = ServedModels::new(names, "https://example.com".to_owned(), None, 4096);
        App::new(AppConfig {
            provider,
            models: Arc::new(models),
            engine: None,
            costs: CostsConfig::default(),
            lanes: Lanes::default(),
        })
    }

    fn answer<L: Send + 'static>(&self, prompt_tokens: Vec<usize>) -> ProviderStream<L> {
        let read = ProviderEvent::Read(RequestRead {
            adapter: None,
            prompt_tokens,
            accounts: stream::empty().boxed(),
        });
        if let Some(error) = &self.refusal {
            return stream::iter([Ok(read), Err(error.clone())]).boxed();
        }
        let delta = |text: &&str| {
            Ok(ProviderEvent::Delta {
                choice: 0,
                tokens: 1,
                pieces: vec![Piece {
                    text: (*text).to_owned(),
                    logprobs: None,
                }],
            })
        };
        let deltas: Vec<_> = self.pieces.iter().map(delta).collect();
        let events = stream::iter([Ok(read), Ok(ProviderEvent::Accepted)]);
        let events = events.chain(stream::iter(deltas));
        let guard = self.cancelled.lock().unwrap().take();
        match self.last.clone() {
            Some(Last::Finished(reason, usage)) => {
                let end = ProviderEvent::Finished {
                    choice: 0,
                    reason,
                    usage,
                };
                events.chain(stream::iter([Ok(end)])).boxed()
            }
            Some(Last::Failed(message)) => {
                let error = ProviderError::Failed(message.to_owned());
                events.chain(stream::iter([Err(error)])).boxed()
            }
            None => {
                // Dropping the stream drops the guard, and with it the test's channel closes.
                let forever = stream::once(async move {
                    let _guard = guard;
                    std::future::pending().await
                });
                events.chain(forever).boxed()
            }
        }
    }
}

impl Provider for StubProvider {
    fn chat(&self, request: ChatRequest, context: &RequestContext) -> ProviderStream<ChatLogprobs> {
        self.contexts.lock().unwrap().push(context.clone());
        self.answer(vec![request.messages.len()])
    }

    fn complete(
        &self,
        request: CompletionRequest,
        context: &RequestContext,
    ) -> ProviderStream<CompletionLogprobs> {
        self.contexts.lock().unwrap().push(context.clone());
        self.answer(request.prompts.iter().map(|_| 1).collect())
    }

    fn tokenize(&self, _: TokenizeInput) -> ProviderFuture<Vec<TextToken>> {
        Box::pin(async { Err(ProviderError::Unavailable) })
    }

    fn detokenize(&self, _: Vec<u32>) -> ProviderFuture<String> {
        Box::pin(async { Err(ProviderError::Unavailable) })
    }

    fn is_alive(&self) -> bool {
        true
    }
}
