//! OpenAI's dialect, end to end.

use farthing_vendors::{BillBasis, VendorError, VendorEvent, VendorFinish, VendorPiece};
use serde_json::{Value, json};

use crate::fake_vendor::{Ending, FakeVendor, Play, Step};
use crate::setup::{Outcome, ask, call, chat, openai, outcome, question};

/// Events of a stream, with the end marker.
pub(crate) fn events(chunks: &[Value]) -> String {
    let events: String = chunks
        .iter()
        .map(|chunk| format!("data: {chunk}\n\n"))
        .collect();
    events + "data: [DONE]\n\n"
}

pub(crate) fn delta(delta: Value) -> Value {
    json!({"id": "chatcmpl-1", "model": "gpt-4o-2024-08-06", "choices": [{"index": 0, "delta": delta, "finish_reason": null}]})
}

pub(crate) fn end(reason: &str) -> Value {
    json!({"id": "chatcmpl-1", "model": "gpt-4o-2024-08-06", "choices": [{"index": 0, "delta": {}, "finish_reason": reason}]})
}

pub(crate) fn usage(prompt: u64, completion: u64) -> Value {
    json!({"id": "chatcmpl-1", "model": "gpt-4o-2024-08-06", "choices": [], "usage": {
        "prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}})
}

/// What a stream of these chunks gives.
async fn streamed(chunks: &[Value]) -> Outcome {
    let text = events(chunks);
    let fake = FakeVendor::start(move |_| Play::stream(text.clone())).await;
    outcome(ask(&openai(&fake))).await
}

/// The stream of OpenAI's reference, with usage
/// (<https://platform.openai.com/docs/api-reference/chat-streaming>).
const REFERENCE: &str = include_str!("../fixtures/openai_text.sse");

#[tokio::test]
async fn the_reference_stream_is_read_and_billed() {
    let fake = FakeVendor::start(|_| Play::stream(REFERENCE)).await;
    let vendor = openai(&fake);
    let got = outcome(vendor.chat(call(question(), "gpt-4o-mini"))).await;
    let began = VendorEvent::Began {
        served_model: Some("gpt-4o-mini".to_owned()),
        vendor_request_id: Some("chatcmpl-123".to_owned()),
    };
    let text = VendorPiece::Text("Hello".to_owned());
    let ended = VendorEvent::Finished {
        choice: 0,
        reason: VendorFinish::Stop,
    };
    assert_eq!(
        got.events,
        [
            began,
            VendorEvent::Piece {
                choice: 0,
                piece: text
            },
            ended
        ]
    );
    assert_eq!(got.error, None);
    // 19 × 0.15 + 10 × 0.6 US dollars per million.
    assert_eq!(got.usd(), "0.00000885");
    assert_eq!(got.account.bill.basis, BillBasis::Measured);
    assert_eq!(got.account.usage.unwrap()["total_tokens"], 29);
    assert_eq!(vendor.figures().attempts["ok"], 1);
    assert_eq!(
        vendor.figures().spent_today_usd.normalize().to_string(),
        "0.00000885"
    );
}

#[tokio::test]
async fn a_connection_is_used_again() {
    let fake = FakeVendor::start(|_| Play::stream(REFERENCE)).await;
    let vendor = openai(&fake);
    // The end of a body may be on its way when the next call begins.
    for _ in 0..1000 {
        assert_eq!(outcome(ask(&vendor)).await.error, None);
        if fake.connections() < fake.seen().len() {
            return;
        }
    }
    panic!("each of a thousand calls had a connection of its own");
}

#[tokio::test]
async fn the_request_is_the_clients_apart_from_three_fields() {
    let fake = FakeVendor::start(|_| Play::stream(REFERENCE)).await;
    let original = chat(json!({
        "model": "route", "messages": [{"role": "user", "content": "Hi"}], "seed": 7,
        "top_k": 3, "unknown": {"nested": [1, null]}, "stream": false,
        "stream_options": {"include_obfuscation": false}, "user": "someone"
    }));
    outcome(openai(&fake).chat(call(original.clone(), "gpt-4o"))).await;
    let seen = &fake.seen()[0];
    let expected = json!({
        "model": "gpt-4o", "messages": [{"role": "user", "content": "Hi"}], "seed": 7,
        "top_k": 3, "unknown": {"nested": [1, null]}, "stream": true,
        "stream_options": {"include_obfuscation": false, "include_usage": true}, "user": "someone"
    });
    assert_eq!(seen.body, expected);
    assert_eq!(seen.target, "/v1/chat/completions");
    assert_eq!(seen.headers["x-client-request-id"], "req-1");
    assert_eq!(
        original.body()["model"],
        "route",
        "the original is unchanged"
    );
}

#[tokio::test]
async fn what_no_event_carries_is_refused_by_name() {
    let fake = FakeVendor::start(|_| Play::stream(REFERENCE)).await;
    let vendor = openai(&fake);
    let refused = [
        ("functions", json!([{"name": "f"}])),
        ("function_call", json!("auto")),
        ("audio", json!({"voice": "alloy"})),
        ("modalities", json!(["text", "audio"])),
        ("web_search_options", json!({})),
    ];
    for (name, value) in refused {
        let mut body = question().body().clone();
        body.insert(name.to_owned(), value);
        let got = outcome(vendor.chat(call(chat(Value::Object(body)), "gpt-4o"))).await;
        let Some(VendorError::Untranslatable { parameter, .. }) = &got.error else {
            panic!("{name} is refused: {:?}", got.error);
        };
        assert_eq!(parameter, name);
        assert_eq!(got.usd(), "0");
    }
    assert_eq!(fake.seen().len(), 0);
}

#[tokio::test]
async fn one_byte_at_a_time_with_every_kind_of_line_end() {
    let text = format!(
        "\u{feff}: a comment\r\n\r\nevent: ping\r\ndata:\r\n\r\ndata: {}\r\rdata:{}\n\nid: 3\nretry: 5\ndata: \
         {{\"model\":\ndata: \"gpt-4o\", \"choices\": null}}\n\n: keep-alive\n\ndata: {}\r\n\r\ndata: {}\r\n\r\ndata: [DONE]\r\n\r\n",
        delta(json!({"content": "你好"})),
        delta(json!({"content": ", 世界 😀"})),
        end("stop"),
        usage(7, 5),
    );
    let fake =
        FakeVendor::start(move |_| Play::steps(vec![Step::EachByte(text.clone().into())])).await;
    let got = outcome(ask(&openai(&fake))).await;
    assert_eq!(got.error, None);
    assert_eq!(got.text(0), "你好, 世界 😀");
    assert_eq!(got.ends(), [(0, VendorFinish::Stop)]);
    assert_eq!(got.account.bill.basis, BillBasis::Measured);
}

#[tokio::test]
async fn a_stream_without_its_end_is_truncated() {
    let whole = events(&[delta(json!({"content": "Hi"})), end("stop"), usage(7, 2)]);
    let no_marker = whole.replace("data: [DONE]\n\n", "");
    let half_marker = whole.trim_end().to_owned();
    let no_finish = events(&[delta(json!({"content": "Hi"})), usage(7, 2)]);
    for text in [
        no_marker,
        half_marker,
        no_finish,
        "data: [DONE]\n\n".to_owned(),
        String::new(),
    ] {
        let shown = text.clone();
        let fake = FakeVendor::start(move |_| Play::stream(text.clone())).await;
        let got = outcome(ask(&openai(&fake))).await;
        assert_eq!(got.error, Some(VendorError::Truncated), "{shown}");
    }
}

#[tokio::test]
async fn a_missing_choice_is_an_error_but_not_the_vendors_fault() {
    let text = events(&[delta(json!({"content": "Hi"})), end("stop")]);
    let fake = FakeVendor::start(move |_| Play::stream(text.clone())).await;
    let vendor = openai(&fake);
    let mut body = question().body().clone();
    body.insert("n".to_owned(), json!(2));
    // Nobody's `n` takes the vendor away from the others.
    for _ in 0..6 {
        let original = chat(Value::Object(body.clone()));
        let error = outcome(vendor.chat(call(original, "gpt-4o"))).await.error;
        let expected = VendorError::MissingChoices {
            wanted: 2,
            given: 1,
        };
        assert_eq!(error, Some(expected));
    }
    assert_eq!(outcome(ask(&vendor)).await.error, None);
}

#[tokio::test]
async fn a_connection_that_breaks_is_an_error_after_what_was_said() {
    for ending in [Ending::Cut, Ending::Reset] {
        let text = format!("data: {}\n\n", delta(json!({"content": "Hi"})));
        let fake = FakeVendor::start(move |_| Play::stream(text.clone()).ending(ending)).await;
        let got = outcome(ask(&openai(&fake))).await;
        let error = got.error.as_ref().unwrap();
        // A reset may overtake the text on its way.
        assert!(matches!(error, VendorError::Broken(_)), "{error:?}");
        assert!(error.may_retry());
        if ending == Ending::Cut {
            assert_eq!(got.text(0), "Hi");
        }
        assert_eq!(got.account.bill.basis, BillBasis::Estimated);
    }
}

#[tokio::test]
async fn an_error_within_the_stream_fails_the_attempt() {
    let opening = delta(json!({"role": "assistant", "content": ""}));
    let quota = json!({"error": {"message": "Rate limit reached", "type": "requests", "code": "rate_limit_exceeded"}});
    let empty = json!({"choices": [], "error": {"message": "boom", "code": 502}});
    let text = json!({"error": "engine died"});
    let older =
        json!({"object": "error", "message": "too long", "type": "BadRequestError", "code": 400});
    for (error, retries, code) in [
        (quota, true, Some("rate_limit_exceeded")),
        (empty, true, None),
        (text, true, None),
        (older, false, Some("BadRequestError")),
    ] {
        let got = streamed(&[opening.clone(), error.clone()]).await;
        // The harmless opening is no content.
        assert!(
            matches!(got.events[..], [VendorEvent::Began { .. }]),
            "{:?}",
            got.events
        );
        let Some(VendorError::InBand {
            may_retry,
            code: read,
            ..
        }) = &got.error
        else {
            panic!("{error}: {:?}", got.error);
        };
        assert_eq!((*may_retry, read.as_deref()), (retries, code), "{error}");
    }
}

#[tokio::test]
async fn a_document_instead_of_a_stream_is_an_error() {
    let error = r#"{"error": {"message": "overloaded", "type": "server_error"}}"#;
    let page = "<html>Please log in</html>";
    for (body, kind) in [(error, "in_band"), (page, "malformed")] {
        let fake = FakeVendor::start(move |_| Play {
            status: 200,
            ..Play::error(200, body)
        })
        .await;
        let got = outcome(ask(&openai(&fake))).await;
        assert_eq!(got.error.unwrap().kind(), kind);
        assert_eq!(got.events, []);
    }
}

#[tokio::test]
async fn parallel_calls_keep_their_indices_and_ids() {
    let part = |index: u64, id: Value, name: Value, arguments: &str| {
        delta(
            json!({"tool_calls": [{"index": index, "id": id, "type": "function",
            "function": {"name": name, "arguments": arguments}}]}),
        )
    };
    let interleaved = [
        part(0, json!("call_a"), json!("weather"), ""),
        part(1, json!("call_b"), json!("weather"), ""),
        part(0, Value::Null, Value::Null, "{\"city\":"),
        part(1, Value::Null, Value::Null, "{\"city\":\"Rome\"}"),
        part(0, Value::Null, Value::Null, "\"Oslo\"}"),
        end("stop"),
    ];
    // All numbered 0, and the ids repeated with every part.
    let all_zero = [
        part(0, json!("call_a"), json!("weather"), "{\"city\":"),
        part(0, json!("call_a"), Value::Null, "\"Oslo\"}"),
        part(0, json!("call_b"), json!("weather"), "{\"city\":\"Rome\"}"),
        end("stop"),
    ];
    // Without ids.
    let nameless = [
        part(0, Value::Null, json!("weather"), "{\"city\":\"Oslo\"}"),
        part(0, Value::Null, json!("weather"), "{\"city\":\"Rome\"}"),
        end("tool_calls"),
    ];
    for chunks in [&interleaved[..], &all_zero[..], &nameless[..]] {
        let got = streamed(chunks).await;
        assert_eq!(got.error, None);
        let calls = got.calls();
        let arguments: Vec<_> = calls.iter().map(|call| call.2.as_str()).collect();
        assert_eq!(arguments, ["{\"city\":\"Oslo\"}", "{\"city\":\"Rome\"}"]);
        assert_eq!([&*calls[0].1, &*calls[1].1], ["weather", "weather"]);
        assert_ne!(calls[0].0, calls[1].0);
        assert!(
            calls.iter().all(|call| call.0.starts_with("call_")),
            "{calls:?}"
        );
        // A bare stop after calls waits for their results.
        assert_eq!(got.ends(), [(0, VendorFinish::ToolCalls)]);
    }
}

#[tokio::test]
async fn calls_mask_neither_a_limit_nor_a_filter() {
    let tool = delta(
        json!({"tool_calls": [{"index": 0, "id": "a", "function": {"name": "f", "arguments": "{"}}]}),
    );
    for (reason, finish) in [
        ("length", VendorFinish::Length),
        ("content_filter", VendorFinish::ContentFilter),
    ] {
        let got = streamed(&[tool.clone(), end(reason)]).await;
        assert_eq!(got.ends(), [(0, finish)]);
    }
}

#[tokio::test]
async fn reasoning_refusals_and_logprobs_are_read() {
    let logprobs = json!({"content": [{"token": "Hi", "logprob": -0.1, "bytes": null, "top_logprobs": []}], "refusal": null});
    let mut with_logprobs = delta(json!({"content": "Hi"}));
    with_logprobs["choices"][0]["logprobs"] = logprobs.clone();
    let parts = json!({"content": [{"type": "thinking", "thinking": [{"type": "text", "text": "B"}]}, {"type": "text", "text": "!"}]});
    let got = streamed(&[
        delta(json!({"reasoning_content": "A", "reasoning": "A"})),
        with_logprobs,
        delta(json!({"refusal": "No."})),
        delta(parts),
        end("stop"),
    ])
    .await;
    let pieces = got.events.iter().filter_map(|event| match event {
        VendorEvent::Piece { piece, .. } => Some(piece.clone()),
        _ => None,
    });
    assert_eq!(got.error, None);
    let expected = [
        VendorPiece::Reasoning("A".to_owned()),
        VendorPiece::Text("Hi".to_owned()),
        VendorPiece::Logprobs(logprobs),
        VendorPiece::Refusal("No.".to_owned()),
        VendorPiece::Reasoning("B".to_owned()),
        VendorPiece::Text("!".to_owned()),
    ];
    assert_eq!(pieces.collect::<Vec<_>>(), expected);
}

#[tokio::test]
async fn what_is_not_understood_is_malformed() {
    let unknown_reason = events(&[end("haiku")]);
    let second_choice = events(&[json!({"choices": [{"index": 1, "delta": {"content": "x"}}]})]);
    let after_end = events(&[end("stop"), delta(json!({"content": "more"}))]);
    let lost_call = events(&[delta(
        json!({"tool_calls": [{"index": 0, "function": {"arguments": "{"}}]}),
    )]);
    let no_text = events(&[delta(json!({"content": 5}))]);
    let no_json = "data: {\"choices\": [\n\n".to_owned();
    let control = "data: {\"id\": \"\u{1}\"}\n\n".to_owned();
    for text in [
        unknown_reason,
        second_choice,
        after_end,
        lost_call,
        no_text,
        no_json,
        control,
    ] {
        let shown = text.clone();
        let fake = FakeVendor::start(move |_| Play::stream(text.clone())).await;
        let got = outcome(ask(&openai(&fake))).await;
        let error = got.error.unwrap();
        assert_eq!(error.kind(), "malformed", "{shown}");
        assert!(!error.may_retry());
    }
}
