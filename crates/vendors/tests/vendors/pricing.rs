//! What attempts cost.

use farthing_vendors::BillBasis;
use serde_json::{Value, json};

use crate::anthropic::TEXT;
use crate::fake_vendor::{FakeVendor, Play};
use crate::openai::{delta, end, events, usage};
use crate::setup::{Outcome, ask, call, openai, outcome, question, vendor};

async fn openai_stream(chunks: &[Value]) -> Outcome {
    let text = events(chunks);
    let fake = FakeVendor::start(move |_| Play::stream(text.clone())).await;
    outcome(ask(&openai(&fake))).await
}

fn with_usage(mut chunk: Value, usage: Value) -> Value {
    chunk["usage"] = usage;
    chunk
}

#[tokio::test]
async fn both_ways_of_counting_the_cache_give_one_cost() {
    let prices = "prices.m.rates = { input = \"3\", cached_input = \"0.3\", cache_write = \"3.75\", output = \"15\" }";
    let inside = json!({"model": "m", "choices": [], "usage": {"prompt_tokens": 1500, "completion_tokens": 20,
        "prompt_tokens_details": {"cached_tokens": 1000, "cache_write_tokens": 400}}});
    let beside = TEXT
        .replace("claude-opus-4-8", "m")
        .replace("\"input_tokens\": 25", "\"input_tokens\": 100, \"cache_read_input_tokens\": 1000, \"cache_creation_input_tokens\": 400")
        .replace("\"output_tokens\": 15", "\"output_tokens\": 20");
    let text = events(&[delta(json!({"content": "x"})), end("stop"), inside])
        .replace("gpt-4o-2024-08-06", "m");
    let mut costs = Vec::new();
    for (dialect, text) in [("openai", text), ("anthropic", beside)] {
        let fake = FakeVendor::start(move |_| Play::stream(text.clone())).await;
        let more = format!("max_output_tokens = {{ m = 100 }}\n{prices}");
        let got = outcome(vendor(&fake, dialect, &more).chat(call(question(), "m"))).await;
        assert_eq!(
            got.account.bill.basis,
            BillBasis::Measured,
            "{:?}",
            got.account.bill
        );
        costs.push((got.usd(), got.account.tokens));
    }
    // 100 × 3 + 1000 × 0.3 + 400 × 3.75 + 20 × 15.
    assert_eq!(costs[0].0, "0.0024");
    assert_eq!(costs[0], costs[1]);
}

#[tokio::test]
async fn usage_is_merged_wherever_it_is_reported() {
    let text = delta(json!({"content": "x"}));
    let start = with_usage(
        text.clone(),
        json!({"prompt_tokens": 10, "completion_tokens": null}),
    );
    let partial = with_usage(
        text.clone(),
        json!({"prompt_tokens": 10, "completion_tokens": 1}),
    );
    let zeros = json!({"model": "gpt-4o", "choices": [], "usage": {"prompt_tokens": 0, "completion_tokens": 2}});
    // 10 × 2.5 + 2 × 10.
    for chunks in [
        vec![text.clone(), end("stop"), usage(10, 2)],
        vec![start.clone(), end("stop"), usage(10, 2)],
        vec![partial, end("stop"), usage(10, 2)],
        vec![start.clone(), end("stop"), zeros],
    ] {
        let got = openai_stream(&chunks).await;
        assert_eq!(
            (got.usd().as_str(), got.account.bill.basis),
            ("0.000045", BillBasis::Measured)
        );
    }
    // Never, or only half: estimated, not zero. 7 bytes are 2 tokens, one is 1.
    let never = openai_stream(&[text.clone(), end("stop")]).await;
    assert_eq!(
        (never.usd().as_str(), never.account.bill.basis),
        ("0.000015", BillBasis::Estimated)
    );
    let tokens = never.account.tokens.unwrap();
    assert_eq!(
        (never.account.usage, tokens.input, tokens.output),
        (None, 2, 1)
    );
    let half = openai_stream(&[start, end("stop")]).await;
    assert_eq!(
        (half.usd().as_str(), half.account.bill.basis),
        ("0.000035", BillBasis::Estimated)
    );
}

#[tokio::test]
async fn reasoning_is_billed_once_as_output() {
    let usage = json!({"model": "gpt-4o", "choices": [], "usage": {"prompt_tokens": 10, "completion_tokens": 100,
        "queue_time": 0.25, "num_sources_used": 3, "completion_tokens_details": {"reasoning_tokens": 90}}});
    let got = openai_stream(&[delta(json!({"content": "x"})), end("stop"), usage]).await;
    // 10 × 2.5 + 100 × 10.
    assert_eq!(got.usd(), "0.001025");
}

#[tokio::test]
async fn the_model_that_served_is_priced() {
    let served_by = |model: &str| {
        let chunks = [
            delta(json!({"content": "x"})),
            end("stop"),
            usage(1000, 100),
        ];
        events(&chunks).replace("gpt-4o-2024-08-06", model)
    };
    for (model, usd, why) in [
        ("gpt-4o", Some("0.0035"), None),
        (
            "gpt-4o-2024-08-06",
            Some("0.0035"),
            Some("priced as gpt-4o"),
        ),
        (
            "gpt-4o-mini-2024-07-18",
            Some("0.00021"),
            Some("priced as gpt-4o-mini"),
        ),
        // This date had another price.
        ("gpt-4o-2024-05-13", None, Some("there is no price of")),
        ("gpt-unheard-of", None, Some("there is no price of")),
    ] {
        let text = served_by(model);
        let fake = FakeVendor::start(move |_| Play::stream(text.clone())).await;
        let got = outcome(ask(&openai(&fake))).await;
        let bill = &got.account.bill;
        assert_eq!(
            bill.usd.map(|usd| usd.normalize().to_string()).as_deref(),
            usd,
            "{model}"
        );
        assert_eq!(bill.basis == BillBasis::Unknown, usd.is_none());
        let text = bill.why.clone().unwrap_or_default();
        assert!(text.starts_with(why.unwrap_or_default()), "{text}");
        assert_eq!(why.is_none(), text.is_empty());
        assert_eq!(got.account.served_model.as_deref(), Some(model));
    }
}

#[tokio::test]
async fn long_prompts_have_the_price_of_the_book() {
    for (prompt, usd) in [(200_000, "0.25001"), (200_001, "0.5000175")] {
        let event = json!({"candidates": [{"content": {"parts": [{"text": "x"}]}, "finishReason": "STOP"}],
            "usageMetadata": {"promptTokenCount": prompt, "candidatesTokenCount": 1}, "modelVersion": "gemini-2.5-pro"});
        let fake = FakeVendor::start(move |_| Play::stream(format!("data: {event}\n\n"))).await;
        let vendor = vendor(&fake, "google", "price_list = \"google\"");
        let got = outcome(vendor.chat(call(question(), "gemini-2.5-pro"))).await;
        // 200,000 × 1.25 + 10; 200,001 × 2.5 + 15.
        assert_eq!(got.usd(), usd);
    }
}

#[tokio::test]
async fn another_service_has_another_price() {
    let text = delta(json!({"content": "x"}));
    let mut priority = usage(10, 1);
    priority["service_tier"] = json!("priority");
    let mut standard = usage(10, 1);
    standard["service_tier"] = json!("default");
    let got = openai_stream(&[text.clone(), end("stop"), priority]).await;
    assert_eq!(got.account.bill.basis, BillBasis::Unknown);
    assert!(got.account.bill.why.unwrap().contains("priority"));
    let got = openai_stream(&[text, end("stop"), standard]).await;
    assert_eq!(got.account.bill.basis, BillBasis::Measured);
    for (field, value, basis) in [
        ("service_tier", "priority", BillBasis::Unknown),
        ("speed", "fast", BillBasis::Unknown),
        ("inference_geo", "us", BillBasis::Unknown),
        ("inference_geo", "global", BillBasis::Measured),
    ] {
        let usage = format!("\"input_tokens\": 25, \"{field}\": \"{value}\"");
        let stream = TEXT.replace("\"input_tokens\": 25", &usage);
        let fake = FakeVendor::start(move |_| Play::stream(stream.clone())).await;
        let vendor = vendor(&fake, "anthropic", "price_list = \"anthropic\"");
        let got = outcome(vendor.chat(call(question(), "claude-opus-4-8"))).await;
        assert_eq!(got.account.bill.basis, basis, "{field} {value}");
    }
}

#[tokio::test]
async fn counts_that_contradict_each_other_are_unknown() {
    let usage = json!({"model": "gpt-4o", "choices": [], "usage": {"prompt_tokens": 5, "completion_tokens": 1,
        "prompt_tokens_details": {"cached_tokens": 10}}});
    let got = openai_stream(&[delta(json!({"content": "x"})), end("stop"), usage]).await;
    assert_eq!((got.account.bill.usd, got.account.tokens), (None, None));
    assert_eq!(
        got.account.usage.unwrap()["prompt_tokens"],
        5,
        "the raw counts are kept"
    );
    assert_eq!(got.error, None, "the answer is not lost");
    // Tokens of a class without a price.
    let audio = json!({"model": "gpt-4o", "choices": [], "usage": {"prompt_tokens": 5, "completion_tokens": 1,
        "prompt_tokens_details": {"audio_tokens": 2}}});
    let got = openai_stream(&[delta(json!({"content": "x"})), end("stop"), audio]).await;
    assert_eq!(got.account.bill.basis, BillBasis::Unknown);
    assert!(got.account.bill.why.unwrap().contains("audio_tokens"));
}
