//! Google's dialect: documented requests and streams, both directions.

use farthing_vendors::{VendorError, VendorEvent, VendorFinish, VendorPiece};
use serde_json::{Value, json};

use crate::fake_vendor::{Ending, FakeVendor, Play, Step};
use crate::setup::{KEY, Outcome, call, chat, outcome, question, vendor};

const TEXT: &str = include_str!("../fixtures/google_text.sse");
const TOOLS: &str = include_str!("../fixtures/google_tools.sse");
const BLOCKED: &str = include_str!("../fixtures/google_blocked.sse");
const PRICES: &str = "price_list = \"google\"";

async fn streamed_as(text: &str, choices: u64) -> Outcome {
    let bytes = text.as_bytes().to_vec();
    let fake = FakeVendor::start(move |_| Play::steps(vec![Step::EachByte(bytes.clone())])).await;
    let mut body = question().body().clone();
    body.insert("n".to_owned(), json!(choices));
    let original = chat(Value::Object(body));
    outcome(vendor(&fake, "google", PRICES).chat(call(original, "gemini-2.5-flash"))).await
}

async fn streamed(text: &str) -> Outcome {
    streamed_as(text, 1).await
}

/// The body that is sent to a model for a request, or the parameter that is refused.
async fn sent(model: &str, body: Value) -> Result<Value, String> {
    let fake = FakeVendor::start(|_| Play::stream(TEXT)).await;
    let answer = vendor(&fake, "google", PRICES).chat(call(chat(body), model));
    match outcome(answer).await.error {
        Some(VendorError::Untranslatable { parameter, .. }) => {
            assert_eq!(fake.seen().len(), 0, "nothing is sent");
            Err(parameter)
        }
        // More choices than the fixture has.
        None | Some(VendorError::MissingChoices { .. }) => Ok(fake.seen()[0].body.clone()),
        Some(error) => panic!("{error}"),
    }
}

#[tokio::test]
async fn the_documented_text_stream_is_read_and_billed() {
    let got = streamed(TEXT).await;
    assert_eq!(got.error, None);
    assert_eq!(got.text(0), "The capital of Wyoming is **Cheyenne**.\n");
    assert_eq!(got.ends(), [(0, VendorFinish::Stop)]);
    // 7 × 0.3 + 10 × 2.5 US dollars per million.
    assert_eq!(got.usd(), "0.0000271");
    let began = VendorEvent::Began {
        served_model: Some("gemini-2.5-flash".to_owned()),
        vendor_request_id: Some("resp-text".to_owned()),
    };
    assert_eq!(got.events[0], began);
}

#[tokio::test]
async fn thoughts_and_parallel_calls_of_one_name_are_kept_apart() {
    let got = streamed(TOOLS).await;
    assert_eq!(got.error, None);
    let thought = "**Calculating the Days**\n\nI need the date.\n\n\n".to_owned();
    let thought = VendorEvent::Piece {
        choice: 0,
        piece: VendorPiece::Reasoning(thought),
    };
    assert_eq!(got.events[1], thought);
    let calls = got.calls();
    // The vendor has no ids: ours are unique.
    assert_eq!(
        calls[0],
        (
            "call_req-1_0_0".to_owned(),
            "now".to_owned(),
            "{}".to_owned()
        )
    );
    let zone = r#"{"zone":"Europe/Oslo"}"#.to_owned();
    assert_eq!(
        calls[1],
        ("call_req-1_0_1".to_owned(), "now".to_owned(), zone)
    );
    assert_eq!(got.ends(), [(0, VendorFinish::ToolCalls)]);
    // Cached tokens are within the prompt, thoughts beside the answer:
    // 38 × 0.3 + 1000 × 0.03 + (12 + 168) × 2.5.
    assert_eq!(got.usd(), "0.0004914");
}

#[tokio::test]
async fn a_blocked_prompt_is_a_filter_without_an_answer() {
    let got = streamed(BLOCKED).await;
    assert_eq!(got.error, None);
    assert_eq!(got.ends(), [(0, VendorFinish::ContentFilter)]);
    // The total says that there are no other tokens.
    assert_eq!(got.usd(), "0.0000021");
}

#[tokio::test]
async fn reasons_are_masked_by_no_call() {
    for (reason, finish) in [
        ("MAX_TOKENS", VendorFinish::Length),
        ("SAFETY", VendorFinish::ContentFilter),
        ("RECITATION", VendorFinish::ContentFilter),
    ] {
        let text = TOOLS.replace("\"STOP\"", &format!("\"{reason}\""));
        assert_eq!(streamed(&text).await.ends(), [(0, finish)]);
    }
    let failed = streamed(&TOOLS.replace("\"STOP\"", "\"MALFORMED_FUNCTION_CALL\"")).await;
    assert_eq!(failed.error.unwrap().kind(), "in_band");
}

#[tokio::test]
async fn the_end_is_a_reason_for_every_choice_and_a_proper_end() {
    let first = TEXT.split("\n\n").next().unwrap().to_owned() + "\n\n";
    assert_eq!(streamed(&first).await.error, Some(VendorError::Truncated));
    let missing = VendorError::MissingChoices {
        wanted: 2,
        given: 1,
    };
    assert_eq!(streamed_as(TEXT, 2).await.error, Some(missing));
    let second = TEXT.replace("\"index\": 0", "\"index\": 1");
    let both = streamed_as(&format!("{TEXT}{second}"), 2).await;
    assert_eq!(both.error, None);
    assert_eq!(both.text(1), both.text(0));
    let fake = FakeVendor::start(|_| Play::stream(TEXT).ending(Ending::Cut)).await;
    let cut = vendor(&fake, "google", PRICES).chat(call(question(), "gemini-2.5-flash"));
    assert_eq!(outcome(cut).await.error.unwrap().kind(), "broken");
}

#[tokio::test]
async fn log_probabilities_have_openais_form() {
    let event = json!({"candidates": [{"content": {"parts": [{"text": "Hi"}]}, "finishReason": "STOP", "logprobsResult": {
        "topCandidates": [{"candidates": [{"token": "Hi", "tokenId": 5, "logProbability": -0.25}, {"token": "Ho", "tokenId": 6, "logProbability": -2.5}]}],
        "chosenCandidates": [{"token": "Hi", "tokenId": 5, "logProbability": -0.25}]}}]});
    let got = streamed(&format!("data: {event}\n\n")).await;
    let expected = json!({"content": [{"token": "Hi", "logprob": -0.25, "bytes": [72, 105], "top_logprobs": [
        {"token": "Hi", "logprob": -0.25, "bytes": [72, 105]},
        {"token": "Ho", "logprob": -2.5, "bytes": [72, 111]}]}], "refusal": null});
    let piece = VendorEvent::Piece {
        choice: 0,
        piece: VendorPiece::Logprobs(expected),
    };
    assert!(got.events.contains(&piece), "{:?}", got.events);
}

#[tokio::test]
async fn errors_of_the_vendor_are_read() {
    let quota = r#"{"error": {"code": 429, "message": "You exceeded your current quota.", "status": "RESOURCE_EXHAUSTED", "details": [{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "34.5s"}]}}"#;
    let long = r#"[{"error": {"code": 400, "message": "The input token count (1200000) exceeds the maximum number of tokens allowed (1048576).", "status": "INVALID_ARGUMENT"}}]"#;
    let fake = FakeVendor::start(move |seen| match seen.target.contains("2.5-flash") {
        true => Play::error(429, quota),
        false => Play::error(400, long),
    })
    .await;
    let vendor = vendor(&fake, "google", PRICES);
    let busy = outcome(vendor.chat(call(question(), "gemini-2.5-flash"))).await;
    let error = busy.error.unwrap();
    assert_eq!(error.retry_after().unwrap().as_secs_f64(), 34.5);
    assert!(
        error.may_retry() && error.to_string().contains("RESOURCE_EXHAUSTED"),
        "{error}"
    );
    let other = crate::setup::vendor(&fake, "google", PRICES);
    let long = outcome(other.chat(call(question(), "gemini-2.5-pro")))
        .await
        .error
        .unwrap();
    assert!(long.is_context_too_long() && !long.may_retry());
    assert_eq!(long.status(), Some(400));
}

/// The requests of the vendor's guides to function calling and to structured output
/// (<https://ai.google.dev/gemini-api/docs/function-calling>,
/// <https://ai.google.dev/gemini-api/docs/structured-output>), from OpenAI's form of them.
#[tokio::test]
async fn a_conversation_with_tools_is_the_documented_request() {
    let schema = json!({"type": "object", "properties": {"location": {"type": "string"}}});
    let body = json!({
        "model": "route",
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": [{"type": "text", "text": "Where?"}, {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0="}}]},
            {"role": "assistant", "content": "Let me look.", "tool_calls": [
                {"id": "a", "type": "function", "function": {"name": "weather", "arguments": "{\"location\": \"Oslo\"}"}},
                {"id": "b", "type": "function", "function": {"name": "time", "arguments": ""}}
            ]},
            {"role": "tool", "tool_call_id": "b", "content": "12:00"},
            {"role": "tool", "tool_call_id": "a", "content": "2 degrees"}
        ],
        "tools": [{"type": "function", "function": {"name": "weather", "description": "Weather", "parameters": schema}}],
        "tool_choice": {"type": "function", "function": {"name": "weather"}}, "parallel_tool_calls": true,
        "max_completion_tokens": 100, "temperature": 1.5, "top_p": 0.9, "stop": "END", "seed": 7,
        "presence_penalty": 0.5, "frequency_penalty": -0.5, "n": 2, "logprobs": true, "top_logprobs": 3,
        "response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    });
    let expected = |signature: bool| {
        let mut call =
            json!({"functionCall": {"id": "a", "name": "weather", "args": {"location": "Oslo"}}});
        if signature {
            call["thoughtSignature"] = json!("skip_thought_signature_validator");
        }
        json!({
            "systemInstruction": {"parts": [{"text": "Be brief."}]},
            "contents": [
                {"role": "user", "parts": [{"text": "Where?"}, {"inlineData": {"mimeType": "image/png", "data": "iVBORw0="}}]},
                {"role": "model", "parts": [{"text": "Let me look."}, call, {"functionCall": {"id": "b", "name": "time", "args": {}}}]},
                {"role": "user", "parts": [
                    {"functionResponse": {"id": "b", "name": "time", "response": {"output": "12:00"}}},
                    {"functionResponse": {"id": "a", "name": "weather", "response": {"output": "2 degrees"}}}
                ]}
            ],
            "tools": [{"functionDeclarations": [{"name": "weather", "description": "Weather", "parametersJsonSchema": schema}]}],
            "toolConfig": {"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["weather"]}},
            "generationConfig": {
                "temperature": 1.5, "topP": 0.9, "seed": 7, "presencePenalty": 0.5, "frequencyPenalty": -0.5,
                "maxOutputTokens": 100, "candidateCount": 2, "stopSequences": ["END"], "responseLogprobs": true,
                "logprobs": 3, "responseMimeType": "application/json", "responseJsonSchema": schema
            }
        })
    };
    assert_eq!(
        sent("gemini-2.5-flash", body.clone()).await.unwrap(),
        expected(false)
    );
    assert_eq!(
        sent("gemini-3.8-flash", body).await.unwrap(),
        expected(true)
    );
}

#[tokio::test]
async fn the_key_is_a_header_and_the_model_a_part_of_the_path() {
    let fake = FakeVendor::start(|_| Play::stream(TEXT)).await;
    let vendor = vendor(&fake, "google", PRICES);
    for (model, path) in [
        (
            "gemini-2.5-flash",
            "/v1/models/gemini-2.5-flash:streamGenerateContent?alt=sse",
        ),
        (
            "tunedModels/mine-1",
            "/v1/tunedModels/mine-1:streamGenerateContent?alt=sse",
        ),
    ] {
        outcome(vendor.chat(call(question(), model))).await;
        let seen = fake.seen().pop().unwrap();
        assert_eq!(seen.target, path);
        assert_eq!(seen.headers["x-goog-api-key"], KEY);
        // No limit is invented.
        assert_eq!(
            seen.body,
            json!({"contents": [{"role": "user", "parts": [{"text": "Say hi."}]}]})
        );
    }
    for model in ["../secrets", "a?key=b", "files/x", "", "models/..", "a/b/c"] {
        let got = outcome(vendor.chat(call(question(), model))).await;
        assert!(
            matches!(got.error, Some(VendorError::Untranslatable { .. })),
            "{model}"
        );
    }
}

#[tokio::test]
async fn what_cannot_be_translated_is_refused_by_name() {
    let user = json!({"role": "user", "content": "x"});
    let with = |name: &str, value: Value| json!({"model": "r", "messages": [user], name: value});
    let say = |messages: Value| json!({"model": "r", "messages": messages});
    let tool = json!({"type": "function", "function": {"name": "f", "strict": true}});
    let single = json!({"model": "r", "messages": [user], "parallel_tool_calls": false,
        "tools": [{"type": "function", "function": {"name": "f"}}]});
    let refused = [
        (with("logit_bias", json!({"1": 2})), "logit_bias"),
        (with("reasoning_effort", json!("low")), "reasoning_effort"),
        (with("store", json!(true)), "store"),
        (with("seed", json!("x")), "seed"),
        (with("tools", json!([tool])), "tools[0].function.strict"),
        (single, "parallel_tool_calls"),
        (
            say(json!([user, {"role": "tool", "tool_call_id": "lost", "content": "x"}])),
            "messages[1].tool_call_id",
        ),
        (
            say(
                json!([{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "https://a/b.png"}}]}]),
            ),
            "messages[0].content",
        ),
        (
            say(json!([user, {"role": "developer", "content": "x"}])),
            "messages[1].role",
        ),
    ];
    for (body, parameter) in refused {
        let shown = body.to_string();
        assert_eq!(
            sent("gemini-2.5-flash", body).await,
            Err(parameter.to_owned()),
            "{shown}"
        );
    }
}
