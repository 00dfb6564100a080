//! The two servers: Farthing's with a stub in place of the engine, and a bare one.

use std::convert::Infallible;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use axum::extract::State;
use axum::response::Sse;
use axum::response::sse::Event;
use axum::routing::post;
use axum::serve::ListenerExt;
use axum::{Json, Router};
use farthing_api::{
    ChatLogprobs, ChatRequest, CompletionLogprobs, CompletionRequest, FinishReason, TokenizeInput,
};
use farthing_keys::KeyFile;
use farthing_server::{
    App, AppConfig, CallerKeys, ChoiceUsage, CostsConfig, Lanes, Piece, Provider, ProviderError,
    ProviderEvent, ProviderFuture, ProviderStream, RequestContext, RequestRead, ServeConfig,
    ServedModels, TextToken, Timeouts,
};
use futures_util::stream::{self, BoxStream, StreamExt};
use serde_json::Value;
use tokio::net::TcpListener;

use crate::Server;
use crate::emitter::{Emitter, SCHEDULED, SHORT, SHORT_TOKENS, Schedule, token};

/// More than any request of the benchmark needs.
const TIMEOUT: Duration = Duration::from_secs(600);

/// Serves for ever, after printing the address.
pub(crate) fn serve(server: Server, keys: &KeyFile, schedule: Schedule) -> anyhow::Result<()> {
    let emitter = Arc::new(Emitter::default());
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        println!("{}", listener.local_addr()?);
        let emitting = emitter.clone();
        thread::spawn(move || emitting.run(schedule));
        match server {
            Server::Farthing => serve_farthing(listener, keys, emitter).await,
            Server::Axum => serve_axum(listener, emitter).await,
        }
    })
}

/// The texts of an answer.
fn texts(emitter: &Emitter, model: &str) -> BoxStream<'static, String> {
    if model == SCHEDULED {
        let tokens = emitter.open();
        let next = |mut tokens: tokio::sync::mpsc::UnboundedReceiver<String>| async {
            Some((tokens.recv().await?, tokens))
        };
        stream::unfold(tokens, next).boxed()
    } else {
        stream::iter((0..SHORT_TOKENS).map(|_| token())).boxed()
    }
}

async fn serve_farthing(
    listener: TcpListener,
    keys: &KeyFile,
    emitter: Arc<Emitter>,
) -> anyhow::Result<()> {
    let names = [SCHEDULED, SHORT].map(str::to_owned).to_vec();
    let models = ServedModels::new(names, "stub".to_owned(), None, 4096);
    let price = Some("1".parse()?);
    let app = App::new(AppConfig {
        provider: Arc::new(Stub { emitter }),
        models: Arc::new(models),
        engine: None,
        costs: CostsConfig {
            price,
            ..CostsConfig::default()
        },
        lanes: Lanes::default(),
    });
    let app = app.with_keys(Arc::new(CallerKeys::open(keys, price)?));
    let config = ServeConfig::new(Timeouts {
        handshake: TIMEOUT,
        read: TIMEOUT,
        write: TIMEOUT,
        shutdown: TIMEOUT,
    });
    farthing_server::serve(listener, app, std::future::pending(), config).await;
    Ok(())
}

/// Answers without computing anything.
struct Stub {
    emitter: Arc<Emitter>,
}

const PROMPT_TOKENS: usize = 16;

impl Provider for Stub {
    fn chat(&self, request: ChatRequest, context: &RequestContext) -> ProviderStream<ChatLogprobs> {
        let read = ProviderEvent::Read(RequestRead {
            adapter: None,
            prompt_tokens: vec![PROMPT_TOKENS],
            accounts: stream::empty().boxed(),
        });
        // The engine's provider counts them, too.
        let taken = context.caller.take_prompt(PROMPT_TOKENS);
        let accepted = match taken {
            Ok(()) => Ok(ProviderEvent::Accepted),
            Err(error) => Err(ProviderError::Failed(error.to_string())),
        };
        let deltas = texts(&self.emitter, &request.model).map(|text| {
            Ok(ProviderEvent::Delta {
                choice: 0,
                tokens: 1,
                pieces: vec![Piece {
                    text,
                    logprobs: None,
                }],
            })
        });
        let finished = ProviderEvent::Finished {
            choice: 0,
            reason: FinishReason::Length,
            usage: ChoiceUsage {
                prompt_tokens: PROMPT_TOKENS,
                completion_tokens: SHORT_TOKENS,
                ..ChoiceUsage::default()
            },
        };
        stream::iter([Ok(read), accepted])
            .chain(deltas)
            .chain(stream::iter([Ok(finished)]))
            .boxed()
    }

    fn complete(
        &self,
        _: CompletionRequest,
        _: &RequestContext,
    ) -> ProviderStream<CompletionLogprobs> {
        let error = "the benchmark sends chats only".to_owned();
        stream::iter([Err(ProviderError::Failed(error))]).boxed()
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

async fn serve_axum(listener: TcpListener, emitter: Arc<Emitter>) -> anyhow::Result<()> {
    let router = Router::new()
        .route("/v1/chat/completions", post(bare))
        .with_state(emitter);
    // Without this a chunk waits until the one before it is acknowledged.
    let listener = listener.tap_io(|stream| {
        let _ = stream.set_nodelay(true);
    });
    axum::serve(listener, router).await?;
    Ok(())
}

/// The least that a server can do for the same answer: chunks whose text is put together by hand.
async fn bare(
    State(emitter): State<Arc<Emitter>>,
    Json(request): Json<Value>,
) -> Sse<BoxStream<'static, Result<Event, Infallible>>> {
    let model = request["model"].as_str().unwrap_or_default().to_owned();
    let texts = texts(&emitter, &model);
    let chunk = move |delta: &str, reason: &str| {
        format!(
            "{{\"object\":\"chat.completion.chunk\",\"id\":\"chatcmpl-0123456789abcdef0123456789abcdef\",\
             \"created\":1700000000,\"model\":\"{model}\",\"adapter\":null,\
             \"system_fingerprint\":\"farthing-0.1.0\",\"choices\":[{{\"index\":0,\"delta\":{{{delta}}},\
             \"logprobs\":null,\"finish_reason\":{reason}}}]}}"
        )
    };
    let first = chunk("\"role\":\"assistant\",\"content\":\"\"", "null");
    let last = chunk("", "\"length\"");
    let chunks = texts.map(move |text| chunk(&format!("\"content\":\"{text}\""), "null"));
    let data = stream::iter([first])
        .chain(chunks)
        .chain(stream::iter([last, "[DONE]".to_owned()]));
    Sse::new(data.map(|data| Ok(Event::default().data(data))).boxed())
}
