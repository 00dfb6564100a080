//! Every refusal has OpenAI's shape and the right status.

use std::time::Duration;

use farthing_engine::SubmitError;
use farthing_server::Timeouts;
use serde_json::{Value, json};

use crate::wire::{PATIENT, Server, post};

const CHAT: &str = "/v1/chat/completions";
const COMPLETIONS: &str = "/v1/completions";
const INVALID: &str = "invalid_request_error";

fn hello() -> Value {
    json!({"model": "base", "messages": [{"role": "user", "content": "hi"}]})
}

#[tokio::test]
async fn a_bad_parameter_is_a_400_that_names_it() {
    let server = Server::start().await;
    for (extra, param, code) in [
        (
            json!({"temperature": 3}),
            "temperature",
            "decimal_above_max_value",
        ),
        (json!({"n": 0}), "n", "integer_below_min_value"),
        (
            json!({"frobnicate": true}),
            "frobnicate",
            "unknown_parameter",
        ),
        (json!({"tools": [{}]}), "tools", "unsupported_parameter"),
        (
            json!({"logit_bias": {"259": 1}}),
            "logit_bias",
            "invalid_value",
        ),
        (
            json!({"messages": [{"role": "assistant", "content": "x"}]}),
            "messages",
            "invalid_value",
        ),
    ] {
        let mut body = hello();
        body.as_object_mut()
            .unwrap()
            .extend(extra.as_object().unwrap().clone());
        let response = server.post(CHAT, &body).await;
        assert_eq!(response.status, 400);
        assert_eq!(
            response.error(),
            [json!(INVALID), json!(param), json!(code)]
        );
    }
    let body = json!({"model": "base", "prompt": [5, 259]});
    let response = server.post(COMPLETIONS, &body).await;
    assert_eq!(response.status, 400);
    assert_eq!(response.error(), [INVALID, "prompt", "invalid_value"]);
}

/// The template's own words reach the caller.
#[tokio::test]
async fn a_conversation_that_the_template_refuses_is_explained() {
    let server = Server::start().await;
    let body = json!({"model": "base", "messages": [{"role": "assistant", "content": "x"}]});
    let message = server.post(CHAT, &body).await.json()["error"]["message"].clone();
    assert_eq!(message, "the user speaks first");
}

#[tokio::test]
async fn what_is_not_json_is_refused() {
    let server = Server::start().await;
    let response = server
        .open_raw(&post(CHAT, "{\"model\":"))
        .await
        .response()
        .await;
    assert_eq!(
        (response.status, response.error()),
        (400, [json!(INVALID), Value::Null, Value::Null])
    );

    let form = post(CHAT, "a=b").replace("application/json", "application/x-www-form-urlencoded");
    let response = server.open_raw(&form).await.response().await;
    assert_eq!(
        (response.status, response.error()),
        (415, [json!(INVALID), Value::Null, Value::Null])
    );

    let charset = post(CHAT, "{}").replace("application/json", "application/json; charset=utf-8");
    let response = server.open_raw(&charset).await.response().await;
    assert_eq!(
        response.error(),
        [INVALID, "model", "missing_required_parameter"]
    );
}

#[tokio::test]
async fn a_body_that_says_it_is_too_large_is_refused_unread() {
    let server = Server::start().await;
    let head = post(CHAT, "").replace("Content-Length: 0", "Content-Length: 17000000");
    let response = server.open_raw(&head).await.response().await;
    assert_eq!(
        (response.status, response.error()),
        (413, [json!(INVALID), Value::Null, Value::Null])
    );
}

#[tokio::test]
async fn unknown_urls_and_methods_are_refused() {
    let server = Server::start().await;
    let response = server.post("/v1/nothing", &json!({})).await;
    assert_eq!(
        (response.status, response.error()[2].clone()),
        (404, json!("unknown_url"))
    );
    let response = server.get(CHAT).await;
    assert_eq!(
        (response.status, response.error()[2].clone()),
        (405, json!("method_not_supported"))
    );
    assert!(response.head.contains("allow: post"), "{}", response.head);
}

#[tokio::test]
async fn an_unknown_model_is_a_404() {
    let server = Server::start().await;
    let mut body = hello();
    body["model"] = json!("gpt-9");
    let response = server.post(CHAT, &body).await;
    assert_eq!(
        (response.status, response.error()),
        (
            404,
            ["invalid_request_error", "model", "model_not_found"].map(Value::from)
        )
    );
    let response = server.get("/v1/models/gpt-9").await;
    assert_eq!(
        (response.status, response.error()[2].clone()),
        (404, json!("model_not_found"))
    );
}

#[tokio::test]
async fn a_url_that_is_no_text_has_openais_shape() {
    let server = Server::start().await;
    for path in ["/v1/models/%ff", "/v1/models/a%2Fb%c3%28"] {
        let response = server.get(path).await;
        assert_eq!(
            (response.status, response.error()[0].clone()),
            (400, json!("invalid_request_error")),
            "{path}"
        );
    }
}

#[tokio::test]
async fn too_long_a_context_has_openais_code() {
    let server = Server::start().await;
    for (path, body, param) in [
        (CHAT, hello(), "messages"),
        (
            COMPLETIONS,
            json!({"model": "base", "prompt": "hi"}),
            "prompt",
        ),
    ] {
        let refusal = SubmitError::TooLong {
            max_model_len: 64,
            prompt_tokens: 60,
            max_tokens: 5,
        };
        *server.engine.refusal.lock().unwrap() = Some(refusal);
        let response = server.post(path, &body).await;
        assert_eq!(response.status, 400);
        assert_eq!(
            response.error(),
            [INVALID, param, "context_length_exceeded"]
        );
        let message = response.json()["error"]["message"].clone();
        assert!(
            message
                .as_str()
                .unwrap()
                .contains("maximum context length is 64 tokens")
        );
        assert!(message.as_str().unwrap().contains("requested 65 tokens"));
    }
}

#[tokio::test]
async fn a_full_queue_is_a_429_to_retry() {
    let server = Server::start().await;
    *server.engine.refusal.lock().unwrap() = Some(SubmitError::QueueFull { limit: 8 });
    let response = server.post(CHAT, &hello()).await;
    assert_eq!(response.status, 429);
    assert!(
        response.head.contains("\r\nretry-after: 1"),
        "{}",
        response.head
    );
    assert_eq!(
        response.error(),
        [
            json!("rate_limit_error"),
            Value::Null,
            json!("rate_limit_exceeded")
        ]
    );
    let metrics = server.get("/metrics").await.body;
    assert!(metrics.contains("vllm:admission_rejections_total{model_name=\"base\",engine=\"0\",reason=\"max_num_queued_reqs\"} 1"));
}

/// Retrying would never help.
#[tokio::test]
async fn more_choices_than_the_queue_holds_are_a_400() {
    let server = Server::start().await;
    *server.engine.refusal.lock().unwrap() = Some(SubmitError::QueueFull { limit: 8 });
    let mut body = hello();
    body["n"] = json!(9);
    let response = server.post(CHAT, &body).await;
    assert_eq!(
        (response.status, response.error()),
        (400, [INVALID, "n", "invalid_value"].map(Value::from))
    );
}

#[tokio::test]
async fn a_dead_engine_is_a_503() {
    let server = Server::start().await;
    *server.engine.refusal.lock().unwrap() = Some(SubmitError::EngineDead);
    let response = server.post(CHAT, &hello()).await;
    assert_eq!(
        (response.status, response.error()),
        (
            503,
            [json!("service_unavailable_error"), Value::Null, Value::Null]
        )
    );
}

#[tokio::test]
async fn a_failed_generation_is_a_500() {
    let mut server = Server::start().await;
    let connection = server.open(CHAT, &hello()).await;
    server.play().await.fail("out of cards");
    let response = connection.response().await;
    assert_eq!(
        (response.status, response.error()),
        (500, [json!("server_error"), Value::Null, Value::Null])
    );
}

#[tokio::test]
async fn a_failure_amid_a_stream_is_an_event_before_done() {
    let mut server = Server::start().await;
    let mut body = hello();
    body["stream"] = json!(true);
    let connection = server.open(CHAT, &body).await;
    let play = server.play().await;
    play.say(0, "so far");
    play.fail("out of cards");
    let response = connection.response().await;
    assert_eq!(response.status, 200);
    let events = response.events();
    assert_eq!(events[1]["choices"][0]["delta"]["content"], "so far");
    let error = json!({"error": {
        "message": "The engine failed this request: out of cards", "type": "server_error",
        "param": null, "code": null,
    }});
    assert_eq!(events[2..], [error]);
    play.dropped().await;
}

/// The engine's channel breaks off without a word.
#[tokio::test]
async fn an_answer_that_breaks_off_is_an_error_and_never_an_end() {
    let mut server = Server::start().await;
    let connection = server.open(CHAT, &hello()).await;
    let play = server.play().await;
    play.say(0, "half an ans");
    drop(play);
    assert_eq!(connection.response().await.status, 500);
}

/// A sender of a byte now and then does not hold a connection for ever.
#[tokio::test]
async fn requests_that_never_arrive_are_not_waited_for() {
    let impatient = Timeouts {
        read: Duration::from_millis(50),
        ..PATIENT
    };
    let server = Server::start_with(None, impatient).await;
    let half_a_head = server
        .open_raw("POST /v1/chat/completions HTTP/1.1\r\nHo")
        .await;
    assert_eq!(half_a_head.until_closed().await, "");

    let whole = post(CHAT, &hello().to_string());
    let half_a_body = server.open_raw(&whole[..whole.len() - 5]).await;
    let response = half_a_body.response().await;
    assert_eq!(response.status, 408);
    assert_eq!(response.error()[0], INVALID);
}
