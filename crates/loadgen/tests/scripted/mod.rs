//! A scripted server in the test's process. The requested model selects its behaviour.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use futures_util::{StreamExt, stream};
use serde_json::{Value, json};
use tokio::net::TcpListener;

/// The requests so far.
#[derive(Clone, Default)]
pub struct Script {
    pub asked: Arc<Mutex<HashMap<String, usize>>>,
    pub bodies: Arc<Mutex<Vec<Value>>>,
    pub keys: Arc<Mutex<Vec<Option<String>>>>,
    /// Whether it reports costs, as Farthing does.
    pub is_farthing: bool,
}

/// The address of such a server.
pub async fn serve(script: Script) -> String {
    let mut router = Router::new()
        .route("/v1/chat/completions", post(answer))
        .route("/v1/completions", post(answer))
        .route(
            "/v1/models",
            get(async || r#"{"data": [{"id": "good"}, {"id": "other"}]}"#),
        );
    if script.is_farthing {
        router = router.route("/v1/costs/now", get(async || COSTS_NOW));
    }
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router.with_state(script)).await });
    format!("http://{address}")
}

const COSTS_NOW: &str = r#"{"object": "costs.now", "price_per_hour_usd": 0.10, "since_start":
    {"window_seconds": 9.0, "seconds": {"steps": 4.0}, "tokens": {"input": 1, "cached": 2, "output":
    3}, "token_seconds": {"input": 1.0, "cached": 1.0, "output": 2.0}}}"#;

async fn answer(State(script): State<Script>, headers: HeaderMap, body: Bytes) -> Response {
    let body: Value = serde_json::from_slice(&body).unwrap();
    let key = headers.get(header::AUTHORIZATION);
    script
        .keys
        .lock()
        .unwrap()
        .push(key.map(|it| it.to_str().unwrap().to_owned()));
    script.bodies.lock().unwrap().push(body.clone());
    let model = body["model"].as_str().unwrap();
    if model == "refused" {
        return (
            StatusCode::UNAUTHORIZED,
            r#"{"error": {"message": "no such key"}}"#,
        )
            .into_response();
    }
    let words = match &body["messages"] {
        Value::Null => body["prompt"].as_str().unwrap(),
        messages => messages[0]["content"].as_str().unwrap(),
    };
    // A template of 7 tokens, and one for each word.
    let prompt_tokens = 7 + words.split(' ').count();
    let tokens = body["max_tokens"].as_u64().unwrap() as usize;
    if body["stream"] != json!(true) {
        let usage = json!({"prompt_tokens": prompt_tokens, "completion_tokens": tokens});
        let usage = if model == "silent-about-usage" {
            Value::Null
        } else {
            usage
        };
        return json!({"choices": [{"finish_reason": "length"}], "usage": usage})
            .to_string()
            .into_response();
    }
    let is_first = {
        let mut asked = script.asked.lock().unwrap();
        let count = asked.entry(model.to_owned()).or_default();
        *count += 1;
        *count == 1
    };
    // All models pass the preflight.
    let is_good = is_first && model != "silent-about-usage";
    match if is_good { "good" } else { model } {
        "full" => (StatusCode::TOO_MANY_REQUESTS, "full").into_response(),
        "broken" => (StatusCode::INTERNAL_SERVER_ERROR, "out of order").into_response(),
        "no-stream" => ([(header::CONTENT_TYPE, "application/json")], "{}").into_response(),
        "hanging" => std::future::pending().await,
        "cut" => events(vec![text(), text()]),
        "erring" => events(vec![
            text(),
            r#"{"error": {"message": "device lost"}}"#.to_owned(),
        ]),
        // Several tokens in a piece, and a body that stays open after the last event.
        "merging" => {
            let pieces = texts(tokens / 4);
            let done = vec![end(), usage(prompt_tokens, tokens), "[DONE]".to_owned()];
            open_events([pieces, done].concat())
        }
        "created" => (
            StatusCode::CREATED,
            events([texts(tokens), vec![end()]].concat()),
        )
            .into_response(),
        "silent-about-usage" => events([texts(tokens), vec![end()]].concat()),
        _ => events([texts(tokens), vec![end(), usage(prompt_tokens, tokens)]].concat()),
    }
}

fn events(data: Vec<String>) -> Response {
    event_stream(Body::from_stream(stream::iter(lines(data))))
}

/// The same, in a body that does not end.
fn open_events(data: Vec<String>) -> Response {
    let events = stream::iter(lines(data)).chain(stream::pending());
    event_stream(Body::from_stream(events))
}

fn lines(data: Vec<String>) -> impl Iterator<Item = Result<String, Infallible>> {
    data.into_iter().map(|data| Ok(format!("data: {data}\n\n")))
}

fn event_stream(body: Body) -> Response {
    (
        [(header::CONTENT_TYPE, "text/event-stream; charset=utf-8")],
        body,
    )
        .into_response()
}

fn text() -> String {
    json!({"choices": [{"delta": {"content": "x"}, "text": "x", "finish_reason": null}]})
        .to_string()
}

fn texts(tokens: usize) -> Vec<String> {
    vec![text(); tokens]
}

fn end() -> String {
    json!({"choices": [{"delta": {}, "finish_reason": "length"}]}).to_string()
}

fn usage(prompt_tokens: usize, tokens: usize) -> String {
    let usage = json!({"prompt_tokens": prompt_tokens, "completion_tokens": tokens,
        "prompt_tokens_details": {"cached_tokens": 4},
        "cost": {"device_seconds": 0.5, "usd": 0.0001}});
    json!({"choices": [], "usage": usage}).to_string()
}
