//! Anthropic's dialect: documented requests and streams, both directions.

use farthing_vendors::{BillBasis, VendorError, VendorEvent, VendorFinish, VendorPiece};
use serde_json::{Value, json};

use crate::fake_vendor::{FakeVendor, Play, Step};
use crate::setup::{KEY, Outcome, call, chat, outcome, question, vendor};

pub(crate) const TEXT: &str = include_str!("../fixtures/anthropic_text.sse");
const TOOLS: &str = include_str!("../fixtures/anthropic_tools.sse");
const THINKING: &str = include_str!("../fixtures/anthropic_thinking.sse");
const OVERLOADED: &str = include_str!("../fixtures/anthropic_overloaded.sse");

async fn streamed(text: &str) -> Outcome {
    let bytes = text.as_bytes().to_vec();
    let fake = FakeVendor::start(move |_| Play::steps(vec![Step::EachByte(bytes.clone())])).await;
    let vendor = vendor(&fake, "anthropic", "price_list = \"anthropic\"");
    outcome(vendor.chat(call(question(), "claude-opus-4-8"))).await
}

/// What is sent for a request, or the parameter that is refused.
async fn sent(body: Value) -> Result<Value, String> {
    let fake = FakeVendor::start(|_| Play::stream(TEXT)).await;
    let vendor = vendor(&fake, "anthropic", "price_list = \"anthropic\"");
    match outcome(vendor.chat(call(chat(body), "claude-opus-4-8")))
        .await
        .error
    {
        None => Ok(fake.seen()[0].body.clone()),
        Some(VendorError::Untranslatable { parameter, .. }) => {
            assert_eq!(fake.seen().len(), 0, "nothing is sent");
            Err(parameter)
        }
        Some(error) => panic!("{error}"),
    }
}

#[tokio::test]
async fn the_documented_text_stream_is_read_and_billed() {
    let got = streamed(TEXT).await;
    assert_eq!(got.error, None);
    assert_eq!(got.text(0), "Hello!");
    assert_eq!(got.ends(), [(0, VendorFinish::Stop)]);
    // 25 × 5 + 15 × 25 US dollars per million: the counts of the end are cumulative.
    assert_eq!(got.usd(), "0.0005");
    assert_eq!(got.account.bill.basis, BillBasis::Measured);
    assert_eq!(
        got.account.usage.unwrap(),
        json!({"input_tokens": 25, "output_tokens": 15})
    );
    assert_eq!(got.account.served_model.as_deref(), Some("claude-opus-4-8"));
    // The limit that the client did not set is disclosed.
    assert_eq!(got.account.injected, [("max_tokens", json!(128_000))]);
}

#[tokio::test]
async fn the_documented_tool_stream_is_read_and_billed() {
    let got = streamed(TOOLS).await;
    assert_eq!(got.error, None);
    assert_eq!(got.text(0), "Okay, let's check the weather:");
    let call = |id: &str, name: &str, arguments: &str| {
        (id.to_owned(), name.to_owned(), arguments.to_owned())
    };
    let weather = r#"{"location": "San Francisco, CA", "unit": "fahrenheit"}"#;
    assert_eq!(
        got.calls(),
        [
            call("toolu_01T1x1fJ34qAmk2tNTrN7Up6", "get_weather", weather),
            call("toolu_01NRLabsLyVHZPKxbKvkfSMn", "get_time", "{}"),
        ]
    );
    assert_eq!(got.ends(), [(0, VendorFinish::ToolCalls)]);
    // Cached and written tokens are beside the input, at the prices of the dated model:
    // 472 × 3 + 1000 × 0.3 + 100 × 3.75 + 200 × 6 + 89 × 15.
    assert_eq!(got.usd(), "0.004626");
    assert_eq!(
        got.account.bill.why.as_deref(),
        Some("priced as claude-sonnet-4-5")
    );
    let tokens = got.account.tokens.unwrap();
    assert_eq!(
        (tokens.input, tokens.cached_input, tokens.output),
        (472, 1000, 89)
    );
    assert_eq!((tokens.cache_write, tokens.cache_write_hour), (100, 200));
}

#[tokio::test]
async fn thoughts_are_reasoning_and_billed_once() {
    let got = streamed(THINKING).await;
    let thought = VendorPiece::Reasoning("I need to find the GCD of 1071 and 462.".to_owned());
    assert!(got.events.contains(&VendorEvent::Piece {
        choice: 0,
        piece: thought
    }));
    assert_eq!(
        got.text(0),
        "The greatest common divisor of 1071 and 462 is **21**."
    );
    assert_eq!(got.ends(), [(0, VendorFinish::Length)]);
    // 40 × 5 + 60 × 25: the thoughts are within the 60.
    assert_eq!(got.usd(), "0.0017");
}

#[tokio::test]
async fn an_error_event_fails_the_attempt_before_any_content() {
    let got = streamed(OVERLOADED).await;
    let Some(VendorError::InBand {
        code,
        may_retry,
        message,
        ..
    }) = got.error
    else {
        panic!("{:?}", got.error);
    };
    assert_eq!(
        (code.as_deref(), may_retry, &*message),
        (Some("overloaded_error"), true, "Overloaded")
    );
    assert!(matches!(got.events[..], [VendorEvent::Began { .. }]));
}

#[tokio::test]
async fn streams_without_their_end_are_truncated() {
    for end in [
        "event: message_stop",
        "event: message_delta",
        "event: content_block_start",
    ] {
        let cut = TEXT.split(end).next().unwrap();
        assert_eq!(
            streamed(cut).await.error,
            Some(VendorError::Truncated),
            "{end}"
        );
    }
    // The end marker alone ends no answer.
    let unfinished = TEXT.replace("\"end_turn\"", "null");
    assert_eq!(
        streamed(&unfinished).await.error,
        Some(VendorError::Truncated)
    );
}

#[tokio::test]
async fn a_call_before_a_limit_or_a_refusal_masks_neither() {
    for (reason, finish) in [
        ("max_tokens", VendorFinish::Length),
        ("model_context_window_exceeded", VendorFinish::Length),
        ("refusal", VendorFinish::ContentFilter),
        ("end_turn", VendorFinish::ToolCalls),
    ] {
        let text = TOOLS.replace(
            "\"stop_reason\":\"tool_use\"",
            &format!("\"stop_reason\":\"{reason}\""),
        );
        assert_eq!(streamed(&text).await.ends(), [(0, finish)], "{reason}");
    }
    let paused = TEXT.replace("end_turn", "pause_turn");
    assert_eq!(streamed(&paused).await.error.unwrap().kind(), "malformed");
}

/// The request of the vendor's guide to tools (<https://platform.claude.com/docs/en/agents-and-tools/tool-use>),
/// with the call and its result, from OpenAI's form of it.
#[tokio::test]
async fn a_conversation_with_tools_is_the_documented_request() {
    let schema = json!({"type": "object", "properties": {"location": {"type": "string"}}, "required": ["location"]});
    let got = sent(json!({
        "model": "route",
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "developer", "content": [{"type": "text", "text": "Metric units."}]},
            {"role": "user", "content": "Weather in San Francisco and Oslo?"},
            {"role": "assistant", "content": "\n\n", "tool_calls": [
                {"id": "toolu_1", "type": "function", "function": {"name": "get_weather", "arguments": "{\"location\": \"San Francisco\"}"}},
                {"id": "toolu_2", "type": "function", "function": {"name": "get_weather", "arguments": "{\"location\": \"Oslo\"}"}}
            ]},
            {"role": "tool", "tool_call_id": "toolu_1", "content": "15 degrees"},
            {"role": "tool", "tool_call_id": "toolu_2", "content": [{"type": "text", "text": "2 degrees"}]},
            {"role": "user", "content": "And now?"}
        ],
        "tools": [{"type": "function", "function": {"name": "get_weather", "description": "Get the weather", "parameters": schema, "strict": true}}],
        "tool_choice": "required", "parallel_tool_calls": false,
        "max_tokens": 1024, "temperature": 0.5, "top_p": 0.9, "stop": ["END", "STOP"],
        "user": "someone", "metadata": {"a": "b"}, "store": false, "stream": true, "n": 1,
        "logprobs": false, "presence_penalty": 0, "response_format": {"type": "text"}
    }))
    .await;
    assert_eq!(
        got.unwrap(),
        json!({
            "model": "claude-opus-4-8", "max_tokens": 1024, "stream": true,
            "system": [{"type": "text", "text": "Be brief."}, {"type": "text", "text": "Metric units."}],
            "messages": [
                {"role": "user", "content": [{"type": "text", "text": "Weather in San Francisco and Oslo?"}]},
                {"role": "assistant", "content": [
                    {"type": "tool_use", "id": "toolu_1", "name": "get_weather", "input": {"location": "San Francisco"}},
                    {"type": "tool_use", "id": "toolu_2", "name": "get_weather", "input": {"location": "Oslo"}}
                ]},
                {"role": "user", "content": [
                    {"type": "tool_result", "tool_use_id": "toolu_1", "content": [{"type": "text", "text": "15 degrees"}]},
                    {"type": "tool_result", "tool_use_id": "toolu_2", "content": [{"type": "text", "text": "2 degrees"}]},
                    {"type": "text", "text": "And now?"}
                ]}
            ],
            "temperature": 0.5, "top_p": 0.9, "stop_sequences": ["END", "STOP"],
            "tools": [{"name": "get_weather", "description": "Get the weather", "input_schema": schema, "strict": true}],
            "tool_choice": {"type": "any", "disable_parallel_tool_use": true}
        })
    );
}

#[tokio::test]
async fn images_schemas_and_choices_are_translated() {
    let schema = json!({"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"], "additionalProperties": false});
    let image = |url: &str| json!([{"type": "text", "text": "See"}, {"type": "image_url", "image_url": {"url": url, "detail": "auto"}}]);
    let tools = json!([{"type": "function", "function": {"name": "f"}}]);
    let got = sent(json!({
        "model": "route", "max_completion_tokens": 9,
        "messages": [{"role": "user", "content": image("data:image/png;base64,iVBORw0=")}, {"role": "user", "content": image("https://example.com/a.jpg")}],
        "response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": schema, "strict": true}},
        "tools": tools, "tool_choice": {"type": "function", "function": {"name": "f"}}
    })).await.unwrap();
    assert_eq!(
        got["messages"],
        json!([{"role": "user", "content": [
            {"type": "text", "text": "See"},
            {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "iVBORw0="}},
            {"type": "text", "text": "See"},
            {"type": "image", "source": {"type": "url", "url": "https://example.com/a.jpg"}}
        ]}])
    );
    assert_eq!(
        got["output_config"],
        json!({"format": {"type": "json_schema", "schema": schema}})
    );
    assert_eq!(got["tool_choice"], json!({"type": "tool", "name": "f"}));
    assert_eq!(
        got["tools"][0]["input_schema"],
        json!({"type": "object", "properties": {}})
    );
    assert_eq!(got["max_tokens"], 9);
    for (choice, expected) in [("none", json!({"type": "none"})), ("auto", Value::Null)] {
        let body = json!({"model": "r", "messages": [{"role": "user", "content": "x"}], "tools": tools, "tool_choice": choice});
        assert_eq!(sent(body).await.unwrap()["tool_choice"], expected);
    }
}

#[tokio::test]
async fn what_cannot_be_translated_is_refused_by_name() {
    let user = json!({"role": "user", "content": "x"});
    let with = |name: &str, value: Value| json!({"model": "r", "messages": [user], name: value});
    let say = |messages: Value| json!({"model": "r", "messages": messages});
    let refused = [
        (with("n", json!(2)), "n"),
        (with("seed", json!(1)), "seed"),
        (with("logprobs", json!(true)), "logprobs"),
        (with("logit_bias", json!({"1": 2})), "logit_bias"),
        (with("frequency_penalty", json!(0.5)), "frequency_penalty"),
        (with("temperature", json!(1.5)), "temperature"),
        (with("store", json!(true)), "store"),
        (with("reasoning_effort", json!("low")), "reasoning_effort"),
        (with("service_tier", json!("priority")), "service_tier"),
        (with("invented", json!(false)), "invented"),
        (
            with("response_format", json!({"type": "json_object"})),
            "response_format",
        ),
        (with("stop", json!(5)), "stop"),
        (
            with(
                "tools",
                json!([{"type": "custom", "custom": {"name": "x"}}]),
            ),
            "tools[0].custom",
        ),
        (
            say(json!([{"role": "user", "name": "Ada", "content": "x"}])),
            "messages[0].name",
        ),
        (
            say(json!([user, {"role": "system", "content": "x"}, user])),
            "messages[1].role",
        ),
        (
            say(json!([user, {"role": "assistant", "content": "x"}])),
            "messages[1]",
        ),
        (
            say(json!([{"role": "user", "content": ""}])),
            "messages[0].content",
        ),
        (say(json!([{"role": "system", "content": "x"}])), "messages"),
        (
            say(json!([{"role": "user", "content": [{"type": "input_audio", "input_audio": {}}]}])),
            "messages[0].content[0].type",
        ),
        (
            say(
                json!([{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:image/bmp;base64,AA=="}}]}]),
            ),
            "messages[0].content",
        ),
        (
            say(
                json!([{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:text/plain,hi"}}]}]),
            ),
            "messages[0].content[0].image_url.url",
        ),
        (
            say(
                json!([{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "https://a/b", "detail": "high"}}]}]),
            ),
            "messages[0].content[0].image_url.detail",
        ),
        (
            say(
                json!([user, {"role": "assistant", "tool_calls": [{"id": "a", "type": "function", "function": {"name": "f", "arguments": "[1]"}}]}, user]),
            ),
            "messages[1].tool_calls[0].function.arguments",
        ),
    ];
    for (body, parameter) in refused {
        let shown = body.to_string();
        assert_eq!(sent(body).await, Err(parameter.to_owned()), "{shown}");
    }
}

#[tokio::test]
async fn an_unknown_models_limit_comes_from_the_configuration() {
    let fake = FakeVendor::start(|_| Play::stream(TEXT)).await;
    let plain = vendor(&fake, "anthropic", "");
    let got = outcome(plain.chat(call(question(), "claude-next"))).await;
    let Some(VendorError::Untranslatable { parameter, problem }) = got.error else {
        panic!()
    };
    assert_eq!(parameter, "max_completion_tokens");
    assert!(problem.contains("max_output_tokens"), "{problem}");
    let limited = vendor(
        &fake,
        "anthropic",
        "max_output_tokens = { claude-next = 777 }",
    );
    let got = outcome(limited.chat(call(question(), "claude-next"))).await;
    assert_eq!(got.account.injected, [("max_tokens", json!(777))]);
    let seen = &fake.seen()[0];
    assert_eq!(seen.body["max_tokens"], 777);
    assert_eq!(seen.target, "/v1/messages");
    assert_eq!(seen.headers["anthropic-version"], "2023-06-01");
    assert_eq!(seen.headers["x-api-key"], KEY);
}
