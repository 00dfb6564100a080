//! Another provider than our own engine, through the same routes.

use std::sync::{Arc, Mutex};

use farthing_api::FinishReason;
use farthing_server::{ChoiceUsage, ProviderError};
use serde_json::{Value, json};
use tokio::sync::oneshot;

use crate::stub_provider::{Last, StubProvider};

fn chat() -> Value {
    json!({"model": "remote", "messages": [{"role": "user", "content": "Hi"}], "user": "someone"})
}

fn completion() -> Value {
    json!({"model": "remote", "prompt": "Hi"})
}

fn stops() -> Option<Last> {
    let usage = ChoiceUsage {
        prompt_tokens: 1,
        completion_tokens: 2,
        ..ChoiceUsage::default()
    };
    Some(Last::Finished(FinishReason::Stop, usage))
}

#[tokio::test]
async fn answers_chats() {
    let provider = Arc::new(StubProvider {
        pieces: vec!["Good ", "day"],
        last: stops(),
        ..StubProvider::default()
    });
    let server = provider.serve().await;
    let answer = server.post("/v1/chat/completions", &chat()).await.json();
    assert_eq!(answer["choices"][0]["message"]["content"], "Good day");
    assert_eq!(answer["choices"][0]["finish_reason"], "stop");
    assert_eq!(answer["usage"]["prompt_tokens"], 1);
    assert_eq!(answer["usage"]["completion_tokens"], 2);
    let context = provider.contexts.lock().unwrap()[0].clone();
    assert_eq!(answer["id"], context.id.as_str());
    assert_eq!(context.tenant(), Some("someone"));
}

#[tokio::test]
async fn streams_chats() {
    let provider = Arc::new(StubProvider {
        pieces: vec!["Good ", "day"],
        last: stops(),
        ..StubProvider::default()
    });
    let server = provider.serve().await;
    let mut body = chat();
    body["stream"] = json!(true);
    body["stream_options"] = json!({"include_usage": true});
    let events = server.post("/v1/chat/completions", &body).await.events();
    let text = |event: &Value| event["choices"][0]["delta"]["content"].clone();
    assert_eq!(text(&events[0]), "");
    assert_eq!(text(&events[1]), "Good ");
    assert_eq!(text(&events[2]), "day");
    assert_eq!(events[3]["choices"][0]["finish_reason"], "stop");
    assert_eq!(events[4]["usage"]["total_tokens"], 3);
    assert_eq!(events.len(), 5);
}

#[tokio::test]
async fn answers_completions() {
    let provider = Arc::new(StubProvider {
        pieces: vec!["Good ", "day"],
        last: stops(),
        ..StubProvider::default()
    });
    let server = provider.serve().await;
    let answer = server.post("/v1/completions", &completion()).await.json();
    assert_eq!(answer["choices"][0]["text"], "Good day");
    assert_eq!(answer["usage"]["completion_tokens"], 2);
    let mut body = completion();
    body["stream"] = json!(true);
    let events = server.post("/v1/completions", &body).await.events();
    let texts: Vec<_> = events.iter().map(|it| &it["choices"][0]["text"]).collect();
    assert_eq!(texts, ["Good ", "day", ""]);
}

#[tokio::test]
async fn an_error_before_the_answer_is_the_status() {
    for (error, status, code) in [
        (
            ProviderError::ModelNotFound("remote".to_owned()),
            404,
            json!("model_not_found"),
        ),
        (
            ProviderError::QueueFull { limit: 1 },
            429,
            json!("rate_limit_exceeded"),
        ),
        (
            ProviderError::Failed("overloaded".to_owned()),
            500,
            Value::Null,
        ),
        (ProviderError::Unavailable, 503, Value::Null),
    ] {
        let provider = Arc::new(StubProvider {
            refusal: Some(error),
            ..StubProvider::default()
        });
        let server = provider.serve().await;
        let mut body = chat();
        body["stream"] = json!(true);
        let response = server.post("/v1/chat/completions", &body).await;
        assert_eq!(response.status, status);
        assert_eq!(response.error()[2], code);
        let metrics = server.get("/metrics").await.body;
        let rejections = if status == 429 { 1 } else { 0 };
        let line = format!("reason=\"max_num_queued_reqs\"}} {rejections}");
        assert!(metrics.contains(&line), "{metrics}");
    }
}

#[tokio::test]
async fn an_error_amid_the_answer_is_its_last_event() {
    let provider = Arc::new(StubProvider {
        pieces: vec!["Good "],
        last: Some(Last::Failed("the line broke")),
        ..StubProvider::default()
    });
    let server = provider.serve().await;
    let mut body = chat();
    body["stream"] = json!(true);
    let events = server.post("/v1/chat/completions", &body).await.events();
    let message = events.last().unwrap()["error"]["message"].clone();
    assert!(
        message.as_str().unwrap().contains("the line broke"),
        "{message}"
    );
    let whole = server.post("/v1/chat/completions", &chat()).await;
    assert_eq!(whole.status, 500);
    let metrics = server.get("/metrics").await.body;
    assert!(
        metrics.contains("finished_reason=\"error\"} 2"),
        "{metrics}"
    );
}

#[tokio::test]
async fn a_caller_that_leaves_cancels_the_request() {
    let (sender, mut dropped) = oneshot::channel();
    let provider = Arc::new(StubProvider {
        pieces: vec!["Good "],
        cancelled: Mutex::new(Some(sender)),
        ..StubProvider::default()
    });
    let server = provider.serve().await;
    let mut body = chat();
    body["stream"] = json!(true);
    let mut connection = server.open("/v1/chat/completions", &body).await;
    connection.event().await;
    connection.event().await;
    assert!(dropped.try_recv().is_err(), "it is still wanted");
    drop(connection);
    // The sender is dropped with the stream.
    assert!(dropped.await.is_err());
}

#[tokio::test]
async fn no_figures_of_an_engine_are_shown() {
    let provider = Arc::new(StubProvider::default());
    let server = provider.serve().await;
    assert_eq!(server.get("/health").await.status, 200);
    assert_eq!(server.get("/ready").await.status, 200);
    let models = server.get("/v1/models").await.json();
    assert_eq!(models["data"][0]["id"], "remote");
    let metrics = server.get("/metrics").await.body;
    assert!(metrics.contains("vllm:request_success_total"), "{metrics}");
    for absent in ["vllm:kv_cache_usage_perc", "farthing_steps_total"] {
        assert!(!metrics.contains(absent), "{absent}");
    }
}
