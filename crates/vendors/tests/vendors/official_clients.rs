//! Our readers against the vendors' official clients, which read the same streams
//! (`benches/clients/vendor_streams.py`).

use farthing_vendors::{VendorEvent, VendorFinish, VendorPiece};
use serde_json::{Value, json};

use crate::fake_vendor::{FakeVendor, Play};
use crate::setup::{ask, outcome, vendor};

const STREAMS: [(&str, &str); 9] = [
    ("openai_text", include_str!("../fixtures/openai_text.sse")),
    ("openai_tools", include_str!("../fixtures/openai_tools.sse")),
    (
        "anthropic_text",
        include_str!("../fixtures/anthropic_text.sse"),
    ),
    (
        "anthropic_tools",
        include_str!("../fixtures/anthropic_tools.sse"),
    ),
    (
        "anthropic_thinking",
        include_str!("../fixtures/anthropic_thinking.sse"),
    ),
    (
        "anthropic_overloaded",
        include_str!("../fixtures/anthropic_overloaded.sse"),
    ),
    ("google_text", include_str!("../fixtures/google_text.sse")),
    ("google_tools", include_str!("../fixtures/google_tools.sse")),
    (
        "google_blocked",
        include_str!("../fixtures/google_blocked.sse"),
    ),
];
const READ_BY_CLIENTS: &str = include_str!("../fixtures/official_clients.json");

/// What a client's reason is in OpenAI's terms. Google's client leaves it to its user to see that there
/// are calls.
fn finish(reason: &str, has_calls: bool) -> VendorFinish {
    match reason {
        "STOP" if has_calls => VendorFinish::ToolCalls,
        "stop" | "end_turn" | "STOP" => VendorFinish::Stop,
        "tool_calls" | "tool_use" => VendorFinish::ToolCalls,
        "max_tokens" => VendorFinish::Length,
        "SAFETY" => VendorFinish::ContentFilter,
        reason => panic!("{reason}"),
    }
}

#[tokio::test]
async fn every_stream_is_read_as_the_official_clients_read_it() {
    let clients: Value = serde_json::from_str(READ_BY_CLIENTS).unwrap();
    let theirs = clients["streams"].as_object().unwrap();
    assert_eq!(theirs.len(), STREAMS.len());
    for (name, stream) in STREAMS {
        let theirs = &theirs[name];
        let dialect = name.split('_').next().unwrap();
        let fake = FakeVendor::start(move |_| Play::stream(stream)).await;
        let vendor = vendor(&fake, dialect, "max_output_tokens = { gpt-4o = 100 }");
        let got = outcome(ask(&vendor)).await;
        if theirs.get("error").is_some() {
            assert_eq!(got.error.unwrap().kind(), "in_band", "{name}");
            continue;
        }
        assert_eq!(got.error, None, "{name}");
        assert_eq!(theirs["text"], got.text(0), "{name}");
        let reasoning = got.events.iter().filter_map(|event| match event {
            VendorEvent::Piece {
                piece: VendorPiece::Reasoning(text),
                ..
            } => Some(text.as_str()),
            _ => None,
        });
        assert_eq!(theirs["reasoning"], reasoning.collect::<String>(), "{name}");
        let calls = got.calls();
        let their_calls = theirs["calls"].as_array().unwrap();
        assert_eq!(calls.len(), their_calls.len(), "{name}");
        for ((id, tool, arguments), call) in calls.iter().zip(their_calls) {
            // A null is an id that the vendor doesn't have.
            assert!(call[0].is_null() || call[0] == json!(id), "{name}: {id}");
            assert_eq!(call[1], json!(tool), "{name}");
            assert_eq!(
                call[2],
                serde_json::from_str::<Value>(arguments).unwrap(),
                "{name}"
            );
        }
        let reason = finish(theirs["finish"].as_str().unwrap(), !calls.is_empty());
        assert_eq!(got.ends(), [(0, reason)], "{name}");
        assert_eq!(theirs["model"], json!(got.account.served_model), "{name}");

        let tokens = got.account.tokens.unwrap();
        let count = |field: &str| theirs["usage"][field].as_u64().unwrap_or(0);
        let (prompt, cached, output) = match dialect {
            "openai" => (
                "prompt_tokens",
                count("cached_tokens"),
                count("completion_tokens"),
            ),
            "anthropic" => (
                "input_tokens",
                count("cache_read_input_tokens"),
                count("output_tokens"),
            ),
            _ => (
                "promptTokenCount",
                count("cachedContentTokenCount"),
                count("candidatesTokenCount") + count("thoughtsTokenCount"),
            ),
        };
        let beside = match dialect {
            "anthropic" => cached + count("cache_creation_input_tokens"),
            _ => 0,
        };
        assert_eq!(tokens.prompt(), count(prompt) + beside, "{name}");
        assert_eq!(
            (tokens.cached_input, tokens.output),
            (cached, output),
            "{name}"
        );
    }
}
