//! `farthing tco`, as users type it.

use std::fs;

use crate::{complaint, json, printed};

#[test]
fn tco_tells_the_whole_story() {
    let told = printed(&[
        "tco",
        "--tokens-per-day",
        "50M",
        "--against",
        "gpt-4o",
        "--gpu-hour",
        "1.79",
        "--slo-tokens-per-second",
        "3709.44",
        "--peak-to-mean",
        "2.5",
        "--redundancy",
        "1",
    ]);
    for line in [
        "50.0 M tokens a day: 75.0 % of prompts, 0.0 % of these cached",
        "$4.38 per million, openai/gpt-4o (",
        "$6,562.50 a month; $1,875.00 to $15,000.00 at any mix",
        "2 GPUs at $1.79 an hour: $2,613.40 a month, $1.74 per million",
        "7.8 % busy; carries 128 M tokens a day",
        "60.2 %, $3,949.10 a month",
        "breaks even at 19.9 M a day, saves 40 % at 33.2 M a day, 60 % at 49.8 M a day",
        "no      5 M tokens a day cost $3,000 to $7,000",
        "partly  Own GPUs save 40 to 60 %",
        "Assumptions: ",
        "nobody is paid to run 2 GPUs",
    ] {
        assert!(told.contains(line), "{line:?} is not in\n{told}");
    }
}

#[test]
fn tco_needs_only_what_a_figure_needs() {
    // One side, then the other, then neither.
    let api = json(&[
        "tco",
        "--tokens-per-day",
        "1M",
        "--price-out",
        "8",
        "--input-share",
        "0",
    ]);
    assert_eq!(api["api"]["usd_per_month"], 240);
    assert!(api["own"].is_null() && api["saving"].is_null());
    let own = json(&[
        "tco",
        "--gpus",
        "2",
        "--gpu-hour",
        "1",
        "--staff-monthly",
        "6k",
        "--fixed-monthly",
        "10",
    ]);
    assert_eq!(own["own"]["usd_per_month"], 7470);
    let told = complaint(&["tco"]);
    assert!(
        told.contains("pass --tokens-per-day with --against MODEL"),
        "{told}"
    );
}

#[test]
fn tco_buys_hardware_too() {
    let report = json(&[
        "tco",
        "--gpus",
        "1",
        "--capital",
        "30000",
        "--residual",
        "3720",
        "--life-months",
        "36",
        "--power-kw",
        "0.7",
        "--pue",
        "1.3",
        "--usd-per-kwh",
        "0.12",
        "--colocation-monthly",
        "146",
        "--support-monthly",
        "73",
    ]);
    assert_eq!(report["own"]["usd_per_gpu_hour"], 1.4092);
}

#[test]
fn tco_keeps_every_digit() {
    let told = printed(&[
        "tco",
        "--tokens-per-day",
        "0.123456789M",
        "--input-share",
        "1",
        "--price-in",
        "0.000000001",
        "--json",
    ]);
    // 3.70370367 millions at a billionth of a dollar.
    assert!(
        told.contains("\"usd_per_month\": 0.00000000370370367,"),
        "{told}"
    );
}

#[test]
fn bad_flags_are_told_what_to_be() {
    for (words, why) in [
        (
            &["--input-share", "1.5"][..],
            "expected a share between 0 and 1",
        ),
        (
            &["--input-share", "-0.5"],
            "expected a share between 0 and 1",
        ),
        (&["--cached-share", "x"], "expected a number, for example"),
        (
            &["--tokens-per-day", "many"],
            "expected a number, for example",
        ),
        (
            &["--tokens-per-day", "-5"],
            "tokens per day must be between 0",
        ),
        (
            &["--tokens-per-day", "1e40"],
            "expected a number, for example",
        ),
        (
            &["--price-in", "-1"],
            "expected a number that is not negative",
        ),
        (
            &["--price-in", "1", "--against", "gpt-4o"],
            "cannot be used with",
        ),
        (
            &["--tokens-per-day", "1", "--against", "no-such-model"],
            "no price of \"no-such-model\"",
        ),
        (
            &[
                "--tokens-per-day",
                "1",
                "--against",
                "gpt-4o",
                "--on",
                "1999-01-01",
            ],
            "no price of openai/gpt-4o for 1999-01-01",
        ),
        (
            &[
                "--tokens-per-day",
                "1",
                "--against",
                "gpt-4o",
                "--on",
                "soon",
            ],
            "expected a day, for example 2026-11-24",
        ),
        (
            &["--tokens-per-day", "1", "--price-in", "1"],
            "pass --price-out",
        ),
        (
            &["--tokens-per-day", "1", "--price-out", "1"],
            "pass --price-in",
        ),
        (
            &[
                "--tokens-per-day",
                "1",
                "--price-in",
                "1",
                "--price-out",
                "1",
                "--cached-share",
                "0.1",
            ],
            "pass --price-cached",
        ),
        (&["--gpus", "2"], "pass --gpu-hour"),
        (&["--gpus", "2.5"], "invalid digit"),
        (&["--gpus", "-2"], "invalid"),
        (&["--gpu-hour", "1"], "pass --gpus, or --slo-tokens-per-day"),
        (&["--gpu-hour", "free"], "invalid price \"free\""),
        (
            &["--gpus", "1", "--gpu-hour", "1", "--peak-to-mean", "0.9"],
            "peak to mean must be between 1 and 1000",
        ),
        (&["--slo-tokens-per-day", "0"], "must be"),
        (&["--slo-requests-per-second", "1"], "--tokens-per-request"),
        (&["--fixed-monthly", "5"], "pass --gpus"),
        (&["--capital", "5"], "--life-months"),
        (
            &["--gpus", "1", "--capital", "5", "--life-months", "0"],
            "longer than 0 months",
        ),
        (
            &["--prices", "/no/such/file", "--against", "gpt-4o"],
            "cannot read /no/such/file",
        ),
    ] {
        let told = complaint(&[&["tco"], words].concat());
        assert!(told.contains(why), "{words:?}: {told}");
    }
}

#[test]
fn a_price_book_of_ones_own_counts() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("mine.toml");
    let book = r#"
        [[token_price]]
        vendor = "acme"
        model = "large"
        class = "frontier"
        counting = "subset"
        unit = "usd_per_million_tokens"
        standard.rates = { input = "1", output = "3" }
        provenance = { source = "an offer by mail", read_on = "2020-01-01", valid_from = "2020-01-01" }
    "#;
    fs::write(&path, book).unwrap();
    let words = [
        "tco",
        "--tokens-per-day",
        "1M",
        "--against",
        "acme/large",
        "--prices",
        path.to_str().unwrap(),
        "--cached-share",
        "0.5",
    ];
    let report = json(&words);
    assert_eq!(report["api"]["blended_usd_per_million"], 1.5);
    assert_eq!(report["prices"]["stale"], true);
    assert_eq!(report["prices"]["provenance"]["source"], "an offer by mail");
    let told = printed(&words);
    assert!(
        told.contains("STALE, read 2020-01-01, an offer by mail"),
        "{told}"
    );
    assert!(told.contains("no known price of cached tokens"), "{told}");
    fs::write(&path, book.replace("\"1\"", "1.0")).unwrap();
    let told = complaint(&words);
    assert!(
        told.contains("mine.toml") && told.contains("invalid price book"),
        "{told}"
    );
}
