//! Bills that others have published, and the ways in which usage is told.

#![allow(clippy::unwrap_used, clippy::panic, unreachable_pub)]

use farthing_economics::{CacheCounting, RateCard, Usage};

fn cost(rates: &str, usage: &str, schema: CacheCounting) -> Result<String, String> {
    let (card, factor) = RateCard::from_json(rates).map_err(|error| error.to_string())?;
    let usage = Usage::from_json(usage, schema).map_err(|error| error.to_string())?;
    let cost = card
        .cost_of(&usage, factor)
        .map_err(|error| error.to_string())?;
    let sum: rust_decimal::Decimal = cost.lines.iter().map(|line| line.usd).sum();
    assert_eq!(sum, cost.usd, "the lines add up");
    Ok(cost.usd.normalize().to_string())
}

fn subset(rates: &str, usage: &str) -> Result<String, String> {
    cost(rates, usage, CacheCounting::Subset)
}

fn additive(rates: &str, usage: &str) -> Result<String, String> {
    cost(rates, usage, CacheCounting::Additive)
}

#[test]
fn published_bills_come_out_to_the_last_digit() {
    // BerriAI/litellm#9812, checked by its reporter against the provider's console.
    let bill = additive(
        r#"{"inp": 3, "cache_write": 3.75, "cache_read": 0.3, "out": 15}"#,
        r#"{"input_tokens": 3, "cache_creation_input_tokens": 12304, "cache_read_input_tokens": 0, "output_tokens": 550}"#,
    );
    assert_eq!(bill.unwrap(), "0.054399");
    // maximhq/bifrost#3451.
    let bill = additive(
        r#"{"inp": 5, "cache_write": 6.25, "out": 25}"#,
        r#"{"input_tokens": 6, "cache_creation_input_tokens": 159217, "output_tokens": 2745}"#,
    );
    assert_eq!(bill.unwrap(), "1.06376125");
    // Osmantic/ODS#2519.
    let bill = subset(
        r#"{"inp": 2.5, "cache_read": 1.25, "out": 10}"#,
        r#"{"prompt_tokens": 1000000, "cached_tokens": 900000, "completion_tokens": 0}"#,
    );
    assert_eq!(bill.unwrap(), "1.375");
}

#[test]
fn catalogues_exponents_are_exact() {
    // A float would make 0.30000000000000004 of it.
    let bill = subset(
        r#"{"inp": 1e-1, "out": 2E-1}"#,
        r#"{"input_tokens": 1000000, "output_tokens": 1000000}"#,
    );
    assert_eq!(bill.unwrap(), "0.3");
}

#[test]
fn a_tier_reprices_the_whole_request() {
    let rates = r#"{"inp": 2.5, "cache_read": 0.25, "out": 15, "tiers": [{"above": 272000, "inp": 5, "cache_read": 0.5, "out": 22.5}]}"#;
    let at = r#"{"prompt_tokens": 272000, "cached_tokens": 72000, "completion_tokens": 1000}"#;
    // 200000 × 2.5 + 72000 × 0.25 + 1000 × 15, in millionths.
    assert_eq!(subset(rates, at).unwrap(), "0.533");
    let above = r#"{"prompt_tokens": 272001, "cached_tokens": 72001, "completion_tokens": 1000}"#;
    // 200000 × 5 + 72001 × 0.5 + 1000 × 22.5.
    assert_eq!(subset(rates, above).unwrap(), "1.0585005");
    // The same card, written as LiteLLM writes it.
    let flat = r#"{"inp": 2.5, "inp_above_272k_tokens": 5, "cache_read": 0.25, "cache_read_above_272k": 0.5, "out": 15, "out_above_272000": 22.5}"#;
    assert_eq!(subset(flat, above).unwrap(), "1.0585005");
    // What a tier does not name stays.
    let partly = r#"{"inp": 1, "out": 2, "inp_above_1k": 3}"#;
    assert_eq!(
        subset(
            partly,
            r#"{"prompt_tokens": 2000, "completion_tokens": 1000}"#
        )
        .unwrap(),
        "0.008"
    );
    // Beside or inside: what counts is the whole prompt.
    let beside = r#"{"input_tokens": 1, "cache_read_input_tokens": 272000, "output_tokens": 0}"#;
    assert_eq!(additive(rates, beside).unwrap(), "0.136005");
}

#[test]
fn a_batch_factor_multiplies_everything() {
    let bill = subset(
        r#"{"inp": 2.5, "out": 10, "batch_factor": 0.5}"#,
        r#"{"prompt_tokens": 3000, "completion_tokens": 500}"#,
    );
    assert_eq!(bill.unwrap(), "0.00625");
}

#[test]
fn usage_is_read_as_vendors_tell_it() {
    let rates =
        r#"{"inp": 1, "cache_read": 0.1, "cache_write": 1.25, "cache_write_1h": 2, "out": 10}"#;
    let openai = r#"{"prompt_tokens": 2006, "completion_tokens": 300, "total_tokens": 2306,
        "prompt_tokens_details": {"cached_tokens": 1920, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 128, "accepted_prediction_tokens": 5}}"#;
    // 86 × 1 + 1920 × 0.1 + 300 × 10.
    assert_eq!(subset(rates, openai).unwrap(), "0.003278");
    let responses = r#"{"input_tokens": 2006, "input_tokens_details": {"cached_tokens": 1920},
        "output_tokens": 300, "output_tokens_details": {"reasoning_tokens": 128}, "total_tokens": 2306}"#;
    assert_eq!(subset(rates, responses).unwrap(), "0.003278");
    let anthropic = r#"{"input_tokens": 10, "cache_creation_input_tokens": 300, "cache_read_input_tokens": 1000,
        "cache_creation": {"ephemeral_5m_input_tokens": 100, "ephemeral_1h_input_tokens": 200},
        "output_tokens": 20, "service_tier": "standard", "server_tool_use": {"web_search_requests": 0}}"#;
    // 10 × 1 + 100 × 1.25 + 200 × 2 + 1000 × 0.1 + 20 × 10.
    assert_eq!(additive(rates, anthropic).unwrap(), "0.000835");
    // Google counts thoughts beside the answer.
    let google = r#"{"promptTokenCount": 1000, "cachedContentTokenCount": 400, "candidatesTokenCount": 30,
        "thoughtsTokenCount": 70, "totalTokenCount": 1100}"#;
    assert_eq!(subset(rates, google).unwrap(), "0.00164");
    // LiteLLM reports the cached tokens under two names.
    let twice = r#"{"prompt_tokens": 1000, "completion_tokens": 0, "cache_read_input_tokens": 400,
        "prompt_tokens_details": {"cached_tokens": 400}}"#;
    assert_eq!(subset(rates, twice).unwrap(), "0.00064");
}

#[test]
fn nothing_costs_nothing() {
    assert_eq!(
        subset(
            r#"{"inp": 1}"#,
            r#"{"prompt_tokens": 0, "completion_tokens": 0}"#
        )
        .unwrap(),
        "0"
    );
}

#[test]
fn an_unknown_rate_is_not_a_free_one() {
    let usage = r#"{"prompt_tokens": 10, "cached_tokens": 4, "completion_tokens": 1}"#;
    for rates in [
        r#"{"inp": 1, "out": 1}"#,
        r#"{"inp": 1, "out": 1, "cache_read": 0}"#,
        r#"{"inp": 1, "out": 1, "cache_read": null}"#,
    ] {
        let error = subset(rates, usage).unwrap_err();
        assert!(
            error.contains("4 tokens of cached input have no known rate"),
            "{error}"
        );
    }
}

#[test]
fn bad_rates_are_told_apart() {
    let usage = r#"{"prompt_tokens": 1, "completion_tokens": 1}"#;
    for (rates, why) in [
        ("3", "no JSON object"),
        ("{", "no JSON object"),
        ("{}", "no rates: expected inp"),
        (r#"{"batch_factor": 1}"#, "no rates: expected inp"),
        (r#"{"inp": -1}"#, "`inp` must be between 0 and 1000000"),
        (r#"{"inp": 1e7}"#, "`inp` must be between 0 and 1000000"),
        (r#"{"inp": "three"}"#, "`inp` must be a number"),
        (r#"{"inp": true}"#, "`inp` must be a number"),
        (r#"{"inp": [1]}"#, "`inp` must be a number"),
        (
            r#"{"inp": 1, "price": 2}"#,
            "unknown rate `price`: expected inp, out, cache_read",
        ),
        (r#"{"inp": 1, "inp": 2}"#, "`inp` is there twice"),
        (r#"{"inp": 1, "input": 2}"#, "contradicts another rate of"),
        (
            r#"{"inp": 1, "inp_above_many": 2}"#,
            "unknown rate `inp_above_many`",
        ),
        (r#"{"tiers": [{"inp": 2}]}"#, "a tier needs `above`"),
        (
            r#"{"tiers": [{"above": 1.5, "inp": 2}]}"#,
            "a tier needs `above`",
        ),
        (r#"{"tiers": [7]}"#, "no JSON object"),
        (r#"{"tiers": 7}"#, "unknown rate `tiers`"),
        (
            r#"{"inp": 1, "batch_factor": -1}"#,
            "`batch_factor` must be between 0 and 10",
        ),
    ] {
        let error = subset(rates, usage).unwrap_err();
        assert!(error.contains(why), "{rates}: {error}");
    }
}

#[test]
fn bad_usage_is_told_apart() {
    let rates = r#"{"inp": 1, "cache_read": 1, "cache_write": 1, "cache_write_1h": 1, "out": 1}"#;
    for (usage, why) in [
        ("[]", "no JSON object"),
        ("{}", "no token counts"),
        (
            r#"{"prompt_tokens": -1}"#,
            "`prompt_tokens` must be a whole number of tokens",
        ),
        (
            r#"{"prompt_tokens": 1.5}"#,
            "`prompt_tokens` must be a whole number of tokens",
        ),
        (
            r#"{"prompt_tokens": "many"}"#,
            "`prompt_tokens` must be a whole number of tokens",
        ),
        (
            r#"{"prompt_tokens": 1e30}"#,
            "`prompt_tokens` must be a whole number of tokens",
        ),
        (r#"{"prompt_tokens": 5, "cached_tokens": 6}"#, "`additive`"),
        (r#"{"prompt_tokens": 5, "prompt_tokens": 6}"#, "there twice"),
        (
            r#"{"prompt_tokens": 5, "input_tokens": 6}"#,
            "another name of the same count says 5",
        ),
        (
            r#"{"prompt_tokens": 5, "cached_token": 6}"#,
            "unknown count `cached_token`",
        ),
        (
            r#"{"prompt_tokens": 5, "prompt_tokens_details": {"audio_tokens": 2}}"#,
            "unknown count `prompt_tokens_details.audio_tokens` (2)",
        ),
        (
            r#"{"input_tokens": 5, "cache_creation_input_tokens": 9, "cache_creation": {"ephemeral_5m_input_tokens": 1, "ephemeral_1h_input_tokens": 2}}"#,
            "are not the 9 written",
        ),
    ] {
        let error = subset(rates, usage).unwrap_err();
        assert!(error.contains(why), "{usage}: {error}");
    }
    let most = u64::MAX;
    let error = additive(
        rates,
        &format!(r#"{{"input_tokens": {most}, "output_tokens": {most}}}"#),
    );
    assert!(
        error
            .unwrap_err()
            .contains("the number of tokens is out of range")
    );
    // The most that can be counted still has a cost.
    let most = subset(
        r#"{"inp": 1000000}"#,
        &format!(r#"{{"prompt_tokens": {most}, "completion_tokens": 0}}"#),
    );
    assert_eq!(most.unwrap(), "18446744073709551615");
}
