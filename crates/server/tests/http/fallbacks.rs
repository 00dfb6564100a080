//! Attempts of a routed request that fail: what the client sees, and what the ledger has.

use farthing_engine::SubmitError;
use serde_json::{Value, json};

use crate::fake_vendor::{Act, chunk, says};
use crate::ledger::{assert_row, close, rows};
use crate::routes::{Routed, THEIRS, chat, header, text};

/// Only the engine answers, and the vendor if it fails.
const FALLBACK: &str = r#"
[routes.assistant]
fallback = ["theirs"]
arms.ours = { model = "base", weight = 1 }
arms.theirs = { model = "small", vendor = "cheap" }
"#;

/// The other way round.
const FALLBACK_TO_OURS: &str = r#"
[routes.assistant]
fallback = ["ours"]
arms.theirs = { model = "small", vendor = "cheap", weight = 1 }
arms.ours = { model = "base" }
"#;

#[tokio::test]
async fn a_full_queue_is_answered_by_the_vendor() {
    let routed = Routed::start(FALLBACK, Act::Stream(says(&["Vendor"]))).await;
    *routed.server.engine.refusal.lock().unwrap() = Some(SubmitError::QueueFull { limit: 7 });
    let answer = routed.chat(&chat("ann")).await;
    assert_eq!(text(&answer), "Vendor");
    assert_eq!(header(&answer, "x-farthing-arm"), Some("theirs"));
    assert_eq!(header(&answer, "x-farthing-attempts"), Some("2"));
    close(routed.bookkeeper).await;
    let rows = rows(&routed.file, 2).await;
    let id = answer.json()["id"].as_str().unwrap().to_owned();
    let first = rows.iter().find(|row| row["attempt"] == "1").unwrap();
    let second = rows.iter().find(|row| row["attempt"] == "2").unwrap();
    assert_row(
        first,
        &[
            ("request_id", &id),
            ("role", "primary"),
            ("arm", "ours"),
            ("outcome", "refused"),
            ("status", "429"),
        ],
    );
    assert_row(
        second,
        &[
            ("request_id", &id),
            ("role", "fallback"),
            ("arm", "theirs"),
            ("outcome", "stop"),
            ("status", "200"),
        ],
    );
}

#[tokio::test]
async fn what_the_engine_does_not_support_goes_to_the_vendor() {
    let calls = vec![
        chunk(json!({"role": "assistant", "content": null}), Value::Null),
        chunk(
            json!({"tool_calls": [{"index": 0, "id": "call_1", "type": "function", "function": {"name": "now", "arguments": ""}}]}),
            Value::Null,
        ),
        chunk(
            json!({"tool_calls": [{"index": 0, "function": {"arguments": "{\"zone\":"}}]}),
            Value::Null,
        ),
        chunk(
            json!({"tool_calls": [{"index": 0, "function": {"arguments": "\"UTC\"}"}}]}),
            Value::Null,
        ),
        chunk(
            json!({"tool_calls": [{"index": 1, "id": "call_2", "type": "function", "function": {"name": "now", "arguments": "{}"}}]}),
            Value::Null,
        ),
        chunk(json!({}), json!("tool_calls")),
    ];
    let routed = Routed::start(FALLBACK, Act::Stream(calls)).await;
    let mut body = chat("ann");
    body["tools"] = json!([{"type": "function", "function": {"name": "now", "parameters": {"type": "object"}}}]);
    let answer = routed.chat(&body).await.json();
    let message = &answer["choices"][0]["message"];
    assert_eq!(message["content"], Value::Null);
    assert_eq!(
        message["tool_calls"],
        json!([
            {"type": "function", "id": "call_1", "function": {"name": "now", "arguments": "{\"zone\":\"UTC\"}"}},
            {"type": "function", "id": "call_2", "function": {"name": "now", "arguments": "{}"}},
        ])
    );
    assert_eq!(answer["choices"][0]["finish_reason"], "tool_calls");
    // No usage was told: that is unknown, not free.
    assert_ne!(answer["usage"]["cost"]["basis"], "billed");
}

#[tokio::test]
async fn failures_before_the_first_content_are_not_seen() {
    let opening = chunk(json!({"role": "assistant", "content": ""}), Value::Null);
    let in_band = json!({"error": {"message": "quota", "type": "insufficient_quota"}});
    let acts = [
        Act::Status(
            429,
            json!({"error": {"message": "slow down"}}),
            "retry-after: 30\r\n",
        ),
        Act::Status(500, json!({"error": {"message": "oops"}}), ""),
        Act::Status(
            401,
            json!({"error": {"message": "Incorrect API key provided: sk-canary"}}),
            "",
        ),
        Act::Cut(vec![]),
        Act::Cut(vec![opening.clone()]),
        Act::Stream(vec![opening.clone(), in_band]),
        Act::Stream(vec![opening, json!("garbage")]),
    ];
    for act in acts {
        let mut routed = Routed::start(FALLBACK_TO_OURS, act).await;
        let mut body = chat("ann");
        body["stream"] = json!(true);
        let events = routed.answered_by_the_engine(&body).await.events();
        let content: Vec<_> = events
            .iter()
            .filter_map(|event| event["choices"][0]["delta"]["content"].as_str())
            .collect();
        assert_eq!(content, ["", "Hello"]);
        close(routed.bookkeeper).await;
        let rows = rows(&routed.file, 2).await;
        let first = rows.iter().find(|row| row["attempt"] == "1").unwrap();
        assert_row(first, &[("arm", "theirs"), ("outcome", "error")]);
    }
}

#[tokio::test]
async fn an_answer_that_breaks_off_ends_with_an_error_and_nobody_else_continues() {
    let act = Act::Cut(says(&["Good "])[..2].to_vec());
    let routed = Routed::start(FALLBACK_TO_OURS, act).await;
    let mut body = chat("ann");
    body["stream"] = json!(true);
    let events = routed.chat(&body).await.events();
    let last = events.last().unwrap();
    assert_eq!(last["error"]["code"], "vendor_error", "{events:?}");
    let finished = events
        .iter()
        .any(|event| event["choices"][0]["finish_reason"].is_string());
    assert!(!finished, "{events:?}");
    let whole = routed.chat(&chat("bob")).await;
    assert_eq!(whole.status, 502, "{}", whole.body);
    assert_eq!(header(&whole, "x-should-retry"), None);
    close(routed.bookkeeper).await;
    let rows = rows(&routed.file, 2).await;
    assert!(rows.iter().all(|row| row["outcome"] == "error"), "{rows:?}");
}

#[tokio::test]
async fn if_nobody_answers_the_last_error_is_told_once() {
    let act = Act::Status(400, json!({"error": {"message": "no such tool"}}), "");
    let routed = Routed::start(FALLBACK, act).await;
    *routed.server.engine.refusal.lock().unwrap() = Some(SubmitError::QueueFull { limit: 7 });
    let answer = routed.chat(&chat("ann")).await;
    assert_eq!(answer.status, 400);
    assert_eq!(header(&answer, "x-should-retry"), Some("false"));
    assert!(answer.body.contains("no such tool"), "{}", answer.body);
    routed.vendor.requests(1).await;
}

#[tokio::test]
async fn an_operators_fault_at_a_vendor_is_not_told_to_clients() {
    let message = "Incorrect API key provided: sk-canary. Organization org-17 is suspended.";
    let act = Act::Status(401, json!({"error": {"message": message}}), "");
    let routed = Routed::start(THEIRS, act).await;
    let answer = routed.chat(&chat("ann")).await;
    assert_eq!(answer.status, 502, "{}", answer.body);
    assert!(
        !answer.body.contains("org-17") && !answer.body.contains("canary"),
        "{}",
        answer.body
    );
}

#[tokio::test]
async fn a_caller_that_leaves_leaves_the_vendor_too() {
    let routed = Routed::start(THEIRS, Act::Silence).await;
    let connection = routed
        .server
        .open("/v1/chat/completions", &chat("ann"))
        .await;
    routed.vendor.requests(1).await;
    drop(connection);
    routed.vendor.hung_up(1).await;
    close(routed.bookkeeper).await;
    let rows = rows(&routed.file, 1).await;
    assert_row(&rows[0], &[("outcome", "abort"), ("status", "499")]);
}
