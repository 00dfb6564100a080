//! The published figures, each through the command line. They lie outside the repository: where
//! they are not, the test says so and passes.

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::{json, printed};

/// Below the top of the workspace's parent.
const CASES: &str = "shared/acceptance/economics.json";

#[test]
fn every_published_figure_is_reproduced() {
    let top = Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .nth(3)
        .unwrap();
    let Ok(text) = fs::read_to_string(top.join(CASES)) else {
        eprintln!("skipped: {CASES} is not beside the repository");
        return;
    };
    let cases: Value = serde_json::from_str(&text).unwrap();
    let cases = cases["cases"].as_array().unwrap();
    for case in cases {
        let id = case["id"].as_str().unwrap();
        match &id[..1] {
            "D" => thresholds(case),
            "E" => sized_fleet(case),
            "F" => request(case),
            _ => figure(id, case),
        }
    }
    assert!(cases.len() >= 60, "{}", cases.len());
}

/// Equal, once rounded to the digits that the published figure shows.
fn assert_same(found: &Value, expected: &Value, what: &str) {
    let shown = expected.to_string();
    let digits = shown
        .split_once('.')
        .map_or(0, |(_, fraction)| fraction.len());
    let found = found
        .as_f64()
        .unwrap_or_else(|| panic!("{what}: {found} is no number"));
    let expected = expected.as_f64().unwrap();
    let half = 0.5 * 10f64.powi(-(digits as i32)) * (1.0 + 1e-9);
    assert!(
        (found - expected).abs() <= half,
        "{what}: {found} is not {expected}"
    );
}

/// Equal to the last digit: no rounding was needed.
fn assert_exact(found: &Value, expected: &Value, what: &str) {
    assert_eq!(found.as_f64(), expected.as_f64(), "{what}");
}

const ARTICLE: [[&str; 2]; 2] = [["2.5", "10"], ["5", "15"]];

fn figure(id: &str, case: &Value) {
    let what = case["what"].as_str().unwrap();
    let value = &case["value"];
    let api = |tokens: &str, share: &str, [input, output]: [&str; 2]| {
        json(&[
            "tco",
            "--tokens-per-day",
            tokens,
            "--input-share",
            share,
            "--price-in",
            input,
            "--price-out",
            output,
        ])
    };
    match id {
        "A11" => {
            let report = api("5M", "0", ARTICLE[1]);
            assert_exact(
                &report["api"]["highest_usd_per_month_at_any_mix"],
                value,
                what,
            );
        }
        "A12" | "A13" => {
            let report = json(&["tco", "--tokens-per-day", "5M"]);
            let needed = &report["blended_price_needed"];
            let place = usize::from(id == "A13");
            assert_same(&needed[place]["usd_per_million"], value, what);
        }
        "A14" => assert_exact(
            &api("20M", "0.75", ARTICLE[0])["api"]["usd_per_month"],
            value,
            what,
        ),
        "A15" => assert_exact(
            &api("20M", "0.75", ARTICLE[1])["api"]["usd_per_month"],
            value,
            what,
        ),
        "A16" => assert_exact(
            &api("50M", "0.9", ARTICLE[0])["api"]["usd_per_month"],
            value,
            what,
        ),
        "C10" => {
            let report = json(&[
                "tco",
                "--tokens-per-day",
                "50M",
                "--gpus",
                "8",
                "--gpu-hour",
                "2.79",
            ]);
            assert_same(&report["own"]["usd_per_million"], value, what);
        }
        _ if id.starts_with('A') => {
            let share = what
                .split("share ")
                .nth(1)
                .unwrap()
                .split(',')
                .next()
                .unwrap();
            let prices = what.split('$').nth(1).unwrap().split_once('/').unwrap();
            let report = api("5000000", share, [prices.0, prices.1]);
            assert_exact(&report["api"]["usd_per_month"], value, what);
        }
        _ if id.starts_with('B') => {
            let gpus = what.split(' ').next().unwrap();
            let rate = what.split('$').nth(1).unwrap().split('/').next().unwrap();
            let report = json(&["tco", "--gpus", gpus, "--gpu-hour", rate]);
            assert_exact(&report["own"]["usd_per_month"], value, what);
        }
        _ => capacity(id, what, value),
    }
}

/// Requests a second of 512 + 256 tokens, as measured in the publication.
fn capacity(id: &str, what: &str, value: &Value) {
    let requests = match &id[..2] {
        "C1" => "11.35",
        "C2" => "4.83",
        "C5" => "31.86",
        "C6" => "29.67",
        _ => panic!("{id} is a case that is not known here"),
    };
    let capacity = [
        "--slo-requests-per-second",
        requests,
        "--tokens-per-request",
        "768",
    ];
    let rate = id.split_once('r').map(|(_, rate)| rate);
    let price = rate.map_or(vec![], |rate| vec!["--gpu-hour", rate]);
    let report = json(&[&["tco"], &capacity[..], &price].concat());
    let report = &report["capacity"];
    match (rate, &id[2..]) {
        (Some(_), _) => assert_same(&report["usd_per_million_at_full_load"], value, what),
        (None, "a") => assert_exact(&report["tokens_per_second"], value, what),
        (None, _) => assert_same(&report["million_tokens_per_day"], value, what),
    }
}

fn thresholds(case: &Value) {
    let what = format!("{} against {}", case["cfg"], case["api"]);
    let cfg = case["cfg"].as_str().unwrap();
    let gpus = cfg.split('x').next().unwrap();
    let rate = cfg.split('@').nth(1).unwrap().split(' ').next().unwrap();
    let price = case["price"].to_string();
    let report = json(&[
        "tco",
        "--gpus",
        gpus,
        "--gpu-hour",
        rate,
        "--price-in",
        &price,
        "--price-out",
        &price,
    ]);
    assert_exact(&report["own"]["usd_per_month"], &case["cost"], &what);
    let volumes = &report["thresholds"]["fixed_fleet"];
    for (name, expected) in [
        ("break_even", "breakeven_Mday"),
        ("saving_40_percent", "S40_Mday"),
        ("saving_60_percent", "S60_Mday"),
    ] {
        assert_same(
            &volumes[name]["million_tokens_per_day"],
            &case[expected],
            &what,
        );
    }
}

fn sized_fleet(case: &Value) {
    let tokens = format!("{}M", case["T_Mday"]);
    let [rate, peak, redundancy] =
        ["rate", "peak_to_mean", "redundancy"].map(|name| case[name].to_string());
    for (rival, expected) in case["saving"].as_object().unwrap() {
        let price = rival.rsplit(' ').next().unwrap();
        let report = json(&[
            "tco",
            "--tokens-per-day",
            &tokens,
            "--gpu-hour",
            &rate,
            "--slo-tokens-per-second",
            "3709.44",
            "--peak-to-mean",
            &peak,
            "--redundancy",
            &redundancy,
            "--price-in",
            price,
            "--price-out",
            price,
        ]);
        let own = &report["own"];
        assert_exact(&own["gpus"], &case["N"], rival);
        assert_exact(&own["usd_per_month"], &case["cost"], rival);
        assert_same(&own["usd_per_million"], &case["usd_per_M"], rival);
        assert_same(&own["utilisation"], &case["util"], rival);
        assert_same(&report["saving"]["share"], expected, rival);
    }
}

fn request(case: &Value) {
    let [rates, usage] = ["rates", "usage"].map(|name| case[name].to_string());
    let words = [
        "price",
        "--rates",
        &rates,
        "--usage",
        &usage,
        "--schema",
        case["schema"].as_str().unwrap(),
    ];
    assert_eq!(
        printed(&words).trim(),
        case["expect"].to_string(),
        "{}",
        case["src"]
    );
    assert_exact(&json(&words)["usd"], &case["expect"], "as JSON");
}
