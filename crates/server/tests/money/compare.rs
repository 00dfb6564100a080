//! `farthing compare`, as users type it.

use std::fs;

use crate::{complaint, json, printed};

#[test]
fn compare_sets_the_same_work_side_by_side() {
    let words = [
        "compare",
        "--tokens-per-day",
        "50M",
        "--tokenizer",
        "mistral-sp",
        "--gpus",
        "2",
        "--gpu-hour",
        "1.79",
        "--slo-tokens-per-second",
        "3709.44",
        "--on",
        "2026-11-24",
    ];
    let report = json(&words);
    let own = &report["own"];
    assert_eq!(own["fleet"]["usd_per_month"], 2613.4);
    let close = |found: &serde_json::Value, expected: f64| {
        let found = found.as_f64().unwrap();
        assert!(
            (found / expected - 1.0).abs() < 1e-12,
            "{found} is not {expected}"
        );
    };
    // 1,500 M tokens a month in requests of 768.
    close(&report["requests_per_month"], 1953125.0);
    close(&own["fleet"]["usd_per_request"], 2613.4 / 1953125.0);
    let rivals = report["rivals"].as_array().unwrap();
    let kinds: Vec<_> = rivals
        .iter()
        .map(|rival| rival["kind"].as_str().unwrap())
        .collect();
    for kind in ["frontier", "hosted", "endpoint"] {
        assert!(kinds.contains(&kind), "{kinds:?}");
    }
    // GPT-4o: o200k makes 1/1.27 as many tokens of English.
    let gpt = &rivals[0];
    assert_eq!(gpt["name"], "openai/gpt-4o");
    let usd_per_request = (512.0 * 2.5 + 256.0 * 10.0) / 1.27 / 1e6;
    close(&gpt["tokens_per_own_token"], 1.0 / 1.27);
    close(&gpt["usd_per_request"], usd_per_request);
    close(&gpt["usd_per_month"], usd_per_request * 1953125.0);
    close(
        &gpt["saving"]["share"],
        1.0 - 2613.4 / (usd_per_request * 1953125.0),
    );
    let break_even = 2613.4 / (usd_per_request / 768.0) / 30.0;
    close(&gpt["break_even"]["tokens_per_day"], break_even);
    close(
        &gpt["break_even"]["utilisation"],
        break_even / (2.0 * 3709.44 * 86400.0),
    );
    assert_eq!(gpt["hybrid"]["own_share"], 1);
    // Against a hosted small model it is cheapest to own nothing.
    let groq = rivals
        .iter()
        .find(|rival| rival["name"] == "groq/llama-3.1-8b-instant")
        .unwrap();
    assert_eq!(groq["hybrid"]["gpus"], 0);
    for rival in rivals {
        assert!(
            rival["provenance"]["read_on"].is_string() && rival["provenance"]["source"].is_string()
        );
    }
    let told = printed(&words);
    assert!(told.contains("frontier: openai/gpt-4o"), "{told}");
    assert!(told.contains("STALE: from a copy without a date"), "{told}");
}

#[test]
fn compare_reads_a_benchmark() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("bench.json");
    let report = r#"{"tool": "farthing bench", "measured_cost": {
        "usd_per_million_input": 0.04, "usd_per_million_cached_input": null, "usd_per_million_output": 0.30,
        "mean_prompt_tokens": 1000, "mean_cached_tokens": 0, "mean_output_tokens": 100,
        "usd_per_gpu_hour": 2.69, "slo_tokens_per_day": 1365000000, "tokenizer": "llama3"}}"#;
    fs::write(&path, report).unwrap();
    let report = json(&[
        "compare",
        "--tokens-per-day",
        "1.1M",
        "--bench",
        path.to_str().unwrap(),
        "--against",
        "gpt-4o-mini",
        "--on",
        "2026-11-24",
    ]);
    // 1000 requests a day of (1000 × 0.04 + 100 × 0.3)/1e6.
    assert_eq!(report["own"]["measured"]["usd_per_month"], 2.1);
    // One GPU carries it.
    assert_eq!(report["own"]["fleet"]["usd_per_month"], 1963.7);
    assert_eq!(report["rivals"][0]["usd_per_month"], 6.3);
    fs::write(&path, "{}").unwrap();
    let told = complaint(&[
        "compare",
        "--tokens-per-day",
        "1M",
        "--bench",
        path.to_str().unwrap(),
    ]);
    assert!(
        told.contains("invalid benchmark report: expected a field `measured_cost`"),
        "{told}"
    );
}

#[test]
fn compare_says_what_it_lacks() {
    for (words, why) in [
        (&[][..], "--tokens-per-day"),
        (&["--tokens-per-day", "1M"], "own cost missing"),
        (
            &["--tokens-per-day", "0", "--gpus", "1", "--gpu-hour", "1"],
            "tokens per day must be above 0",
        ),
        (
            &["--tokens-per-day", "1M", "--gpus", "1"],
            "pass --gpu-hour",
        ),
        (
            &[
                "--tokens-per-day",
                "1M",
                "--gpus",
                "1",
                "--gpu-hour",
                "1",
                "--cached-tokens",
                "513",
            ],
            "between 0 and its prompt tokens",
        ),
        (
            &[
                "--tokens-per-day",
                "1M",
                "--gpus",
                "1",
                "--gpu-hour",
                "1",
                "--tokenizer",
                "bert",
            ],
            "possible values: o200k",
        ),
        (
            &[
                "--tokens-per-day",
                "1M",
                "--gpus",
                "1",
                "--gpu-hour",
                "1",
                "--endpoint",
                "zzz",
            ],
            "unknown endpoint",
        ),
        (
            &["--tokens-per-day", "1M", "--own-price-in", "1"],
            "--own-price-out",
        ),
        (
            &[
                "--tokens-per-day",
                "1M",
                "--gpus",
                "1",
                "--gpu-hour",
                "1",
                "--prompt-tokens",
                "7e28",
                "--output-tokens",
                "7e28",
            ],
            "must be between 0 and 1000000000",
        ),
        (
            &[
                "--tokens-per-day",
                "1e-28",
                "--gpus",
                "1",
                "--gpu-hour",
                "1",
            ],
            "too large or too small",
        ),
        (
            &[
                "--tokens-per-day",
                "1M",
                "--own-price-in",
                "1e20",
                "--own-price-out",
                "1",
            ],
            "a measured cost per million tokens must be",
        ),
    ] {
        let told = complaint(&[&["compare"], words].concat());
        assert!(told.contains(why), "{words:?}: {told}");
    }
}
