use std::collections::VecDeque;

use farthing_fuzz::{Campaign, Random, mutate_bytes, mutate_json, mutate_json_value};
use serde_json::{Map, Value, json};

use super::{StreamReader, translate};
use crate::answer::Answer;
use crate::progress::Progress;
use crate::sse::SseReader;
use crate::vendor_text::TextCleaner;
use crate::{Dialect, OriginalChat, VendorEvent};

const OPENAI: &str = r#"data: {"id":"c","model":"gpt-4o","choices":[{"index":0,"delta":{"role":"assistant","content":"Hi","reasoning":"hm","tool_calls":[{"index":0,"id":"a","function":{"name":"f","arguments":"{"}},{"index":1,"id":"b","function":{"name":"g","arguments":"{}"}}]},"logprobs":{"content":[]},"finish_reason":null}]}

data: {"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"function":{"arguments":"}"}}]},"finish_reason":"stop"}],"usage":null}

data: {"choices":[],"usage":{"prompt_tokens":19,"completion_tokens":10,"prompt_tokens_details":{"cached_tokens":3}}}

data: [DONE]

"#;
const STREAMS: [(Dialect, &str); 5] = [
    (Dialect::OpenAi, OPENAI),
    (
        Dialect::Anthropic,
        include_str!("../../tests/fixtures/anthropic_tools.sse"),
    ),
    (
        Dialect::Anthropic,
        include_str!("../../tests/fixtures/anthropic_thinking.sse"),
    ),
    (
        Dialect::Google,
        include_str!("../../tests/fixtures/google_tools.sse"),
    ),
    (
        Dialect::Google,
        include_str!("../../tests/fixtures/google_blocked.sse"),
    ),
];
const NAMES: [&str; 16] = [
    "choices",
    "index",
    "delta",
    "content",
    "tool_calls",
    "finish_reason",
    "usage",
    "error",
    "type",
    "message",
    "candidates",
    "parts",
    "functionCall",
    "finishReason",
    "id",
    "text",
];

/// Reads a stream and checks what holds for every one.
fn read(dialect: Dialect, bytes: &[u8]) {
    let (mut sse, mut events) = (SseReader::default(), VecDeque::new());
    let mut answer = Answer::new(1, "r", TextCleaner::new(None));
    let mut reader = StreamReader::new(dialect);
    sse.push(bytes, &mut events).unwrap();
    let mut read = Vec::new();
    for event in &events {
        let progress = reader.read(event, &mut answer);
        read.extend(std::iter::from_fn(|| answer.next_event()));
        match progress {
            Ok(Progress::More) => {}
            Ok(Progress::End) | Err(_) => break,
        }
    }
    let ends = read
        .iter()
        .filter(|event| matches!(event, VendorEvent::Finished { .. }));
    assert!(ends.count() <= 1);
    let begins = read
        .iter()
        .skip(1)
        .filter(|event| matches!(event, VendorEvent::Began { .. }));
    assert_eq!(begins.count(), 0);
    // The counts never make anything fail.
    let _ = answer.usage.tokens(dialect);
    let _ = answer.usage.estimated(dialect, 1, 1);
    let raw = answer
        .usage
        .raw()
        .map_or(0, |usage| usage.to_string().len());
    assert!(raw <= bytes.len() * 8 + 64, "what is kept has a limit");
}

/// A stream with faults in the JSON of its events, or in its bytes.
fn faulty(random: &mut Random, stream: &str) -> Vec<u8> {
    if random.one_in(3) {
        return mutate_bytes(random, stream.as_bytes());
    }
    let mut bytes = Vec::new();
    for line in stream.lines() {
        match line.strip_prefix("data: ").filter(|_| random.one_in(3)) {
            Some(data) => {
                bytes.extend_from_slice(b"data: ");
                bytes.extend(mutate_json(random, data, &NAMES));
            }
            None => bytes.extend_from_slice(line.as_bytes()),
        }
        bytes.push(b'\n');
    }
    bytes
}

#[test]
fn any_stream_is_read_or_refused() {
    for (at, (dialect, stream)) in STREAMS.into_iter().enumerate() {
        let names = [
            "vendor-stream-0",
            "vendor-stream-1",
            "vendor-stream-2",
            "vendor-stream-3",
            "vendor-stream-4",
        ];
        Campaign::new(names[at], 3_000).run(
            |random| faulty(random, stream),
            |bytes| read(dialect, bytes),
        );
    }
}

fn request() -> Map<String, Value> {
    let request = json!({
        "model": "m", "n": 1, "max_tokens": 5, "temperature": 0.5, "stop": ["a"], "tool_choice": "auto",
        "messages": [
            {"role": "system", "content": "s"},
            {"role": "user", "content": [{"type": "text", "text": "x"}, {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}]},
            {"role": "assistant", "content": null, "tool_calls": [{"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}}]},
            {"role": "tool", "tool_call_id": "a", "content": "r"}
        ],
        "tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}],
        "response_format": {"type": "json_schema", "json_schema": {"name": "j", "schema": {}}}
    });
    request.as_object().unwrap().clone()
}

#[test]
fn any_request_is_translated_or_refused() {
    Campaign::new("vendor-request", 10_000).run(
        |random| {
            let mut value = Value::Object(request());
            mutate_json_value(
                random,
                &mut value,
                &["role", "content", "tools", "stop", "name"],
            );
            value.to_string().into()
        },
        |bytes| {
            let Ok(Value::Object(body)) = serde_json::from_slice(bytes) else {
                return;
            };
            let Ok(chat) = OriginalChat::new(body) else {
                return;
            };
            let _ = (chat.text_bytes(), chat.has_tools(), chat.is_streamed());
            for dialect in [Dialect::OpenAi, Dialect::Anthropic, Dialect::Google] {
                if let Ok(translation) = translate(dialect, &chat, "gemini-3", Some(5)) {
                    assert!(translation.body.is_object());
                }
            }
        },
    );
}
