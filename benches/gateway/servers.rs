//! The vendor, and Farthing as its gateway.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::response::Sse;
use axum::response::sse::Event;
use axum::routing::post;
use axum::serve::ListenerExt;
use farthing_api::{
    ChatLogprobs, ChatRequest, CompletionLogprobs, CompletionRequest, TokenizeInput,
};
use farthing_engine::{EngineStats, GenerationRequest, SubmitError};
use farthing_ledger::Location;
use farthing_model::LoraAdapter;
use farthing_scheduler::AdapterId;
use farthing_server::{
    App, AppConfig, Backend, Bookkeeper, CostsConfig, Events, Lanes, Provider, ProviderError,
    ProviderFuture, ProviderStream, RequestContext, ServeConfig, ServedModels, TextToken, Timeouts,
};
use futures_util::stream::{self, BoxStream, StreamExt};
use tokio::net::TcpListener;

/// The vendor's model.
pub(crate) const MODEL: &str = "small";
/// The gateway's route.
pub(crate) const ROUTE: &str = "assistant";
/// The tokens of an answer.
pub(crate) const TOKENS: u32 = 40;
/// The vendor's pace, also to the first token.
pub(crate) const BETWEEN_TOKENS: Duration = Duration::from_millis(50);

/// More than any request of the benchmark needs.
const TIMEOUT: Duration = Duration::from_secs(600);

/// Serves for ever, after printing the address.
pub(crate) fn serve_vendor() -> anyhow::Result<()> {
    run(async |listener| {
        let router = Router::new().route("/v1/chat/completions", post(vendor));
        // Without this a chunk waits until the one before it is acknowledged.
        let listener = listener.tap_io(|stream| {
            let _ = stream.set_nodelay(true);
        });
        axum::serve(listener, router).await?;
        Ok(())
    })
}

/// Serves for ever, after printing the address.
pub(crate) fn serve_gateway(vendor: SocketAddr, ledger: &Path) -> anyhow::Result<()> {
    let arm = format!("{{ vendor = \"fast\", model = \"{MODEL}\", weight = 1 }}");
    let routes = format!(
        "[vendors.fast]\ndialect = \"openai\"\nbase_url = \"http://{vendor}/v1\"\n\
         [vendors.fast.prices.{MODEL}.rates]\ninput = \"0.1\"\noutput = \"0.4\"\n\
         [routes.{ROUTE}.arms]\na = {arm}\nb = {arm}\n"
    );
    let location = Location::Sqlite(ledger.to_owned());
    run(async move |listener| {
        let names = vec!["none".to_owned()];
        let models = ServedModels::new(names, "none".to_owned(), None, 4096);
        let app = App::new(AppConfig {
            provider: Arc::new(Nobody),
            models: Arc::new(models),
            engine: None,
            costs: CostsConfig::default(),
            lanes: Lanes::default(),
        });
        let bookkeeper = Bookkeeper::open(location, "none".to_owned(), None, Arc::new(Nobody))?;
        let app = app.with_ledger(bookkeeper).with_routes(&routes)?;
        let config = ServeConfig::new(Timeouts {
            handshake: TIMEOUT,
            read: TIMEOUT,
            write: TIMEOUT,
            shutdown: TIMEOUT,
        });
        farthing_server::serve(listener, app, std::future::pending(), config).await;
        Ok(())
    })
}

fn run(serve: impl AsyncFnOnce(TcpListener) -> anyhow::Result<()>) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        println!("{}", listener.local_addr()?);
        serve(listener).await
    })
}

async fn vendor() -> Sse<BoxStream<'static, Result<Event, Infallible>>> {
    let chunk = |delta: &str, reason: &str| {
        format!(
            "{{\"id\":\"chatcmpl-1\",\"object\":\"chat.completion.chunk\",\"created\":1700000000,\
             \"model\":\"{MODEL}\",\"choices\":[{{\"index\":0,\"delta\":{{{delta}}},\
             \"finish_reason\":{reason}}}]}}"
        )
    };
    let first = chunk("\"role\":\"assistant\",\"content\":\"\"", "null");
    let token = chunk("\"content\":\"t\"", "null");
    let usage = format!(
        "{{\"id\":\"chatcmpl-1\",\"object\":\"chat.completion.chunk\",\"created\":1700000000,\
         \"model\":\"{MODEL}\",\"choices\":[],\"usage\":{{\"prompt_tokens\":9,\
         \"completion_tokens\":{TOKENS},\"total_tokens\":{}}}}}",
        9 + TOKENS
    );
    let tokens = stream::iter(0..TOKENS).then(move |_| {
        let token = token.clone();
        async move {
            tokio::time::sleep(BETWEEN_TOKENS).await;
            token
        }
    });
    let end = [chunk("", "\"stop\""), usage, "[DONE]".to_owned()];
    let data = stream::iter([first]).chain(tokens).chain(stream::iter(end));
    Sse::new(data.map(|data| Ok(Event::default().data(data))).boxed())
}

/// This server has no models of its own.
struct Nobody;

impl Provider for Nobody {
    fn chat(&self, _: ChatRequest, _: &RequestContext) -> ProviderStream<ChatLogprobs> {
        stream::iter([Err(ProviderError::Unavailable)]).boxed()
    }

    fn complete(
        &self,
        _: CompletionRequest,
        _: &RequestContext,
    ) -> ProviderStream<CompletionLogprobs> {
        stream::iter([Err(ProviderError::Unavailable)]).boxed()
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

impl Backend for Nobody {
    fn submit(&self, _: GenerationRequest) -> Result<Events, SubmitError> {
        Err(SubmitError::EngineDead)
    }

    fn max_choices(&self) -> usize {
        0
    }

    fn end_warm_up(&self) {}

    fn prefetch_adapter(&self, _: Arc<LoraAdapter>) {}

    fn retire_adapter(&self, _: AdapterId) {}

    fn stats(&self) -> EngineStats {
        EngineStats::default()
    }

    fn is_alive(&self) -> bool {
        true
    }
}
