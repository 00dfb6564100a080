//! Whole responses of vendors, and what in them has a price that is not known here.

#![allow(clippy::unwrap_used)]

use farthing_economics::{CacheCounting, RateCard, ReportedUsage, Usage};

const SUBSET: CacheCounting = CacheCounting::Subset;
const ADDITIVE: CacheCounting = CacheCounting::Additive;

fn refusal(usage: &str) -> String {
    let reported = ReportedUsage::from_json(usage);
    let usage = reported.and_then(|reported| reported.usage(SUBSET));
    usage.unwrap_err().to_string()
}

#[test]
fn what_has_another_price_is_refused_by_name() {
    for (usage, why) in [
        // OpenAI's audio, Google's audio in the prompt and in the answer.
        (
            r#"{"prompt_tokens": 100, "completion_tokens": 1, "prompt_tokens_details": {"audio_tokens": 40}}"#,
            "`prompt_tokens_details.audio_tokens` (40)",
        ),
        (
            r#"{"promptTokenCount": 1000, "candidatesTokenCount": 10, "totalTokenCount": 1010,
                "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 100}, {"modality": "AUDIO", "tokenCount": 900}]}"#,
            "`promptTokensDetails` has 900 tokens of the kind `AUDIO`",
        ),
        (
            r#"{"promptTokenCount": 10, "candidatesTokenCount": 1000,
                "candidatesTokensDetails": [{"modality": "AUDIO", "tokenCount": 1000}]}"#,
            "`candidatesTokensDetails` has 1000 tokens of the kind `AUDIO`",
        ),
        (
            r#"{"prompt_token_count": 10, "response_token_count": 5,
                "response_tokens_details": [{"modality": "IMAGE", "token_count": 5}]}"#,
            "`response_tokens_details` has 5 tokens of the kind `IMAGE`",
        ),
        // OpenAI's realtime API splits the cached tokens as well.
        (
            r#"{"input_tokens": 9, "output_tokens": 1, "input_token_details": {"cached_tokens": 4,
                "cached_tokens_details": {"text_tokens": 1, "audio_tokens": 3}}}"#,
            "`input_token_details.cached_tokens_details.audio_tokens` (3)",
        ),
        // Anthropic's searches, speed, region and tier.
        (
            r#"{"input_tokens": 10, "output_tokens": 5, "server_tool_use": {"web_search_requests": 3}}"#,
            "`server_tool_use.web_search_requests` (3)",
        ),
        (
            r#"{"input_tokens": 10, "output_tokens": 5, "speed": "fast"}"#,
            "`speed` is `fast`",
        ),
        (
            r#"{"input_tokens": 10, "output_tokens": 5, "inference_geo": "us"}"#,
            "`inference_geo` is `us`",
        ),
        (
            r#"{"input_tokens": 10, "output_tokens": 5, "service_tier": "priority"}"#,
            "`service_tier` is `priority`",
        ),
        (
            r#"{"promptTokenCount": 10, "trafficType": "PROVISIONED_THROUGHPUT"}"#,
            "`trafficType` is `PROVISIONED_THROUGHPUT`",
        ),
        // xAI's sources.
        (
            r#"{"prompt_tokens": 10, "completion_tokens": 5, "num_sources_used": 8}"#,
            "`num_sources_used` (8)",
        ),
        // Nobody knows what these are.
        (
            r#"{"prompt_tokens": 100, "completion_tokens": 20, "image_details": {"image_tokens": 5000}}"#,
            "`image_details.image_tokens` (5000)",
        ),
        (
            r#"{"prompt_tokens": 100, "completion_tokens": 20, "extra": [[{"tokens": "5000"}]]}"#,
            "`extra.tokens` (5000)",
        ),
    ] {
        let told = refusal(usage);
        assert!(told.contains(why), "{usage}: {told}");
    }
}

#[test]
fn counts_that_do_not_add_up_are_refused() {
    for (usage, why) in [
        (
            r#"{"prompt_tokens": 100, "completion_tokens": 20, "total_tokens": 999}"#,
            "the total is 999, but its parts are 100 tokens of the prompt and 20 of the answer",
        ),
        // More reasoning than answer, and no total that explains it.
        (
            r#"{"prompt_tokens": 100, "completion_tokens": 20, "completion_tokens_details": {"reasoning_tokens": 30}}"#,
            "30 reasoning tokens cannot be part of an answer of 20",
        ),
        (
            r#"{"promptTokenCount": 10, "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 11}]}"#,
            "adds up to 11, the whole is 10",
        ),
        (
            r#"{"completion_tokens": 20}"#,
            "no count of the prompt's tokens",
        ),
        (
            r#"{"input_tokens": 10, "output_tokens": 5, "iterations": [{"type": "message", "input_tokens": 10000, "output_tokens": 5}]}"#,
            "the messages in `iterations` have 10000 tokens",
        ),
        (
            r#"{"input_tokens": 10, "output_tokens": 5, "iterations": [{"type": "advisor_message", "input_tokens": 1, "output_tokens": 5}]}"#,
            "`advisor_message`",
        ),
    ] {
        let told = refusal(usage);
        assert!(told.contains(why), "{usage}: {told}");
    }
}

#[test]
fn parts_beside_the_whole_are_counted() {
    let usage = |text: &str, counting| Usage::from_json(text, counting).unwrap();
    // Google's tools, and its names in Python and in the live API.
    let google = r#"{"promptTokenCount": 10, "candidatesTokenCount": 10, "toolUsePromptTokenCount": 500, "totalTokenCount": 520}"#;
    assert_eq!(usage(google, SUBSET).input, 510);
    let live =
        r#"{"prompt_token_count": 509, "response_token_count": 11, "total_token_count": 520}"#;
    assert_eq!(usage(live, SUBSET).output, 11);
    // xAI's reasoning: only the total shows that it is beside the answer.
    let xai = r#"{"prompt_tokens": 100, "completion_tokens": 20, "total_tokens": 150, "completion_tokens_details": {"reasoning_tokens": 30}}"#;
    assert_eq!(usage(xai, SUBSET).output, 50);
    let openai = xai.replace("150", "120").replace("30", "10");
    assert_eq!(usage(&openai, SUBSET).output, 20);
    // Anthropic's compactions are billed and not in the counts above them.
    let compacted = r#"{"input_tokens": 23000, "output_tokens": 1000, "iterations": [
        {"type": "compaction", "input_tokens": 180000, "output_tokens": 3500},
        {"type": "message", "input_tokens": 23000, "output_tokens": 1000}]}"#;
    let all = usage(compacted, ADDITIVE);
    assert_eq!((all.input, all.output), (203_000, 4_500));
    // A proxy's total has the cache in it, or not.
    for total in [15, 35] {
        let text = format!(
            r#"{{"input_tokens": 10, "output_tokens": 5, "cache_read_input_tokens": 20, "total_tokens": {total}}}"#
        );
        assert_eq!(usage(&text, ADDITIVE).prompt(), 30, "{total}");
    }
    // Costs and times that servers tell are no tokens.
    let groq = r#"{"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15, "queue_time": 0.1, "prompt_time": 0.2,
        "completion_time": 0.3, "total_time": 0.5, "cost": 0.5, "cost_details": {"upstream_inference_cost": 0.4}}"#;
    assert_eq!(usage(groq, SUBSET).output, 5);
}

#[test]
fn whole_responses_tell_their_model_and_counting() {
    let openai = r#"{"id": "c", "object": "chat.completion", "created": 1764000000, "model": "gpt-4o-2024-08-06",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "usage 7"}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15, "prompt_tokens_details": {"cached_tokens": 4}},
        "service_tier": "default"}"#;
    let anthropic = r#"{"id": "m", "type": "message", "role": "assistant", "model": "claude-sonnet-4-5-20250929",
        "content": [{"type": "text", "text": "x"}], "stop_reason": "end_turn", "usage": {"input_tokens": 6,
        "cache_creation_input_tokens": 0, "cache_read_input_tokens": 4, "output_tokens": 5, "service_tier": "standard"}}"#;
    let google = r#"{"candidates": [{"content": {"parts": [{"text": "x"}]}, "finishReason": "STOP"}], "modelVersion": "gemini-2.5-flash",
        "usageMetadata": {"promptTokenCount": 10, "cachedContentTokenCount": 4, "candidatesTokenCount": 5, "totalTokenCount": 15}}"#;
    let event =
        format!(r#"{{"type": "response.completed", "sequence_number": 9, "response": {openai}}}"#);
    for (text, model, counting) in [
        (openai, "gpt-4o-2024-08-06", SUBSET),
        (anthropic, "claude-sonnet-4-5-20250929", ADDITIVE),
        (google, "gemini-2.5-flash", SUBSET),
        (event.as_str(), "gpt-4o-2024-08-06", SUBSET),
    ] {
        let reported = ReportedUsage::from_json(text).unwrap();
        assert_eq!(reported.model.as_deref(), Some(model));
        assert_eq!(reported.counting, Some(counting), "{model}");
        assert!(!reported.is_batch);
        let usage = reported.usage(counting).unwrap();
        assert_eq!((usage.input, usage.cached_input, usage.output), (6, 4, 5));
    }
    for line in [
        format!(
            r#"{{"id": "b", "custom_id": "1", "response": {{"status_code": 200, "body": {openai}}}}}"#
        ),
        format!(
            r#"{{"custom_id": "1", "result": {{"type": "succeeded", "message": {anthropic}}}}}"#
        ),
        anthropic.replace("\"standard\"", "\"batch\""),
    ] {
        assert!(ReportedUsage::from_json(&line).unwrap().is_batch, "{line}");
    }
}

#[test]
fn calls_that_are_billed_beside_the_tokens_are_refused() {
    for (response, why) in [
        (
            r#"{"object": "response", "model": "gpt-5", "output": [{"type": "web_search_call"}, {"type": "message"}],
                "usage": {"input_tokens": 10, "output_tokens": 5, "total_tokens": 15}}"#,
            "`web_search_call`",
        ),
        (
            r#"{"candidates": [{"groundingMetadata": {"webSearchQueries": ["x"]}}],
                "usageMetadata": {"promptTokenCount": 10, "candidatesTokenCount": 5}}"#,
            "webSearchQueries",
        ),
        (
            r#"{"model": "gpt-5", "usage": {"prompt_tokens": 1, "completion_tokens": 1}, "service_tier": "flex"}"#,
            "service tier `flex`",
        ),
        (
            r#"{"type": "message_start", "message": {"usage": {"input_tokens": 9, "output_tokens": 1}}}"#,
            "first event of a stream",
        ),
        (
            r#"{"object": "chat.completion.chunk", "choices": [], "usage": null}"#,
            "the response has no usage",
        ),
    ] {
        let told = refusal(response);
        assert!(told.contains(why), "{response}: {told}");
    }
    let free = r#"{"output": [{"type": "function_call"}, {"type": "reasoning"}], "usage": {"input_tokens": 10, "output_tokens": 5}}"#;
    assert!(ReportedUsage::from_json(free).is_ok());
}

#[test]
fn entries_of_litellms_file_are_rates() {
    let entry = r#"{"claude-sonnet-4-5": {"litellm_provider": "anthropic", "mode": "chat", "max_tokens": 64000,
        "input_cost_per_token": 3e-06, "output_cost_per_token": 1.5e-05, "cache_read_input_token_cost": 3.0000000000000004e-07,
        "cache_creation_input_token_cost": 3.75e-06, "cache_creation_input_token_cost_above_1hr": 6e-06,
        "input_cost_per_token_above_200k_tokens": 6e-06, "cache_creation_input_token_cost_above_1hr_above_200k_tokens": 1.2e-05,
        "output_cost_per_reasoning_token": 1.5e-05, "input_cost_per_audio_token": 1e-05, "input_cost_per_token_batches": 1.5e-06,
        "search_context_cost_per_query": {"search_context_size_low": 0.01}, "supports_vision": true}}"#;
    let ours = r#"{"inp": 3, "out": 15, "cache_read": 0.3, "cache_write": 3.75, "cache_write_1h": 6, "inp_above_200k": 6,
        "cache_write_1h_above_200k": 12}"#;
    assert_eq!(
        RateCard::from_json(entry).unwrap(),
        RateCard::from_json(ours).unwrap()
    );
    for (entry, why) in [
        (
            r#"{"input_cost_per_token": 1e-06, "output_cost_per_reasoning_token": 2e-06}"#,
            "`output_cost_per_reasoning_token` is not the price of output",
        ),
        (
            r#"{"input_cost_per_token": 1e-06, "tiered_pricing": [{"range": [0, 1]}]}"#,
            "`tiered_pricing`",
        ),
        (
            r#"{"input_cost_per_token": 1e-06, "input_cost_per_token_at_night": 1e-07}"#,
            "unknown rate `input_cost_per_token_at_night`",
        ),
        (
            r#"{"input_cost_per_token": 3}"#,
            "must be between 0 and 1000000",
        ),
    ] {
        let told = RateCard::from_json(entry).unwrap_err().to_string();
        assert!(told.contains(why), "{entry}: {told}");
    }
}
