//! Figures that a script has computed by another route.

use farthing_ledger::{ChargeBasis, LedgerEntry, Outcome, Role};
use rust_decimal::Decimal;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::book::{Attempt, Book, entry, json_of};

fn fixture(case: &str) -> Value {
    let text = include_str!("../fixtures/reports.json");
    let mut cases: Value = serde_json::from_str(text).unwrap();
    cases[case].take()
}

fn named<T: Copy>(all: &[T], name: &Value, as_str: fn(T) -> &'static str) -> T {
    let name = name.as_str().unwrap();
    *all.iter().find(|it| as_str(**it) == name).unwrap()
}

fn leaked(text: &Value) -> &'static str {
    text.as_str().unwrap().to_owned().leak()
}

fn row(arm: &str, unit: &str, id: &str, attempt: u32, it: &Value) -> LedgerEntry {
    let number = |at: usize| it[at].as_u64().unwrap();
    let basis = it[11]
        .as_str()
        .map(|_| named(&ChargeBasis::ALL, &it[11], ChargeBasis::as_str));
    let row = Attempt {
        served: leaked(&it[0]),
        role: named(&Role::ALL, &it[1], Role::as_str),
        outcome: named(&Outcome::ALL, &it[2], Outcome::as_str),
        output_tokens: number(5),
        device_ps: number(6).into(),
        ttft_seconds: it[7].as_f64(),
        billed: basis.map(|basis| (it[10].as_str().map(|_| leaked(&it[10])), basis)),
    };
    LedgerEntry {
        input_tokens: number(3),
        cached_tokens: number(4),
        adapter: it[8].as_str().map(str::to_owned),
        ..entry(arm, unit, id, 60, attempt, &row)
    }
}

/// Amounts of money with all of their digits, which a float does not have.
#[derive(serde::Deserialize)]
struct Exact {
    arms: [ExactArm; 2],
}

#[derive(serde::Deserialize)]
struct ExactArm {
    cost: ExactCost,
}

#[derive(serde::Deserialize)]
struct ExactCost {
    own_busy_usd: Box<RawValue>,
    own_loaded_usd: Box<RawValue>,
    vendor_usd: Box<RawValue>,
}

/// The report on the fixture's ledger, and what is expected of it.
fn computed(case: &str) -> (Value, Exact, Value) {
    let mut case = fixture(case);
    let mut book = Book::new(case["price"].as_str());
    for it in case["rows"].as_array().unwrap() {
        let [arm, unit, id] = [0, 1, 2].map(|at| it[at].as_str().unwrap());
        book.assign(arm, unit, id, 60);
        for (number, attempt) in it[4].as_array().unwrap().iter().enumerate() {
            book.record(row(arm, unit, id, number as u32 + 1, attempt));
        }
        if let Some(value) = it[3].as_f64() {
            book.rate(id, "feedback", value);
            // Other sources and metrics do not count.
            book.rate(id, "check", 1.0 - value);
        }
    }
    book.device(case["steps"].as_f64().unwrap());
    let spec = serde_json::from_value(case["spec"].take()).unwrap();
    let report = book.report(&spec);
    let exact = serde_json::from_str(&serde_json::to_string(&report).unwrap()).unwrap();
    (json_of(&report), exact, case["expected"].take())
}

fn near(found: &Value, expected: &Value, what: &str) {
    let [found, expected] = [found, expected].map(|it| it.as_f64());
    let (Some(found), Some(expected)) = (found, expected) else {
        panic!("{what}: {found:?}, expected {expected:?}")
    };
    let size = expected.abs().max(1e-9);
    assert!(
        (found - expected).abs() <= 1e-6 * size,
        "{what}: {found}, expected {expected}"
    );
}

fn near_interval(found: &Value, expected: &Value, what: &str) {
    near(&found["value"], &expected["value"], what);
    near(&found["interval"]["low"], &expected["low"], what);
    near(&found["interval"]["high"], &expected["high"], what);
}

/// An exact amount equals a fraction as far as a decimal goes.
fn equal_fraction(found: &RawValue, fraction: &Value, what: &str) {
    let found: Decimal = found.get().parse().unwrap();
    let [above, below] = [0, 1].map(|at| fraction[at].as_str().unwrap().parse().unwrap());
    let expected: Decimal = Decimal::checked_div(above, below).unwrap();
    let difference = (found - expected).abs();
    let last_digit: Decimal = "0.00000000000000000000001".parse().unwrap();
    assert!(
        difference <= last_digit,
        "{what}: {found}, expected {expected}"
    );
}

fn arms_are_right(report: &Value, exact: &Exact, expected: &Value) {
    for at in [0, 1] {
        let (arm, it) = (&report["arms"][at], &expected["arms"][at]);
        let cost = &exact.arms[at].cost;
        for (found, name) in [
            ("units", "units"),
            ("requests", "requests"),
            ("answered_requests", "answered"),
            ("failed_requests", "failed"),
            ("attempts", "attempts"),
            ("failed_attempts", "failed_attempts"),
            ("rated_requests", "rated"),
            ("accepted_requests", "accepted"),
        ] {
            assert_eq!(arm[found], it[name], "{found}");
        }
        assert_eq!(arm["cost"]["estimated_bills"], it["estimated"]);
        equal_fraction(&cost.own_busy_usd, &it["busy_usd"], "busy");
        equal_fraction(&cost.vendor_usd, &it["vendor_usd"], "vendor");
        let busy: Decimal = cost.own_busy_usd.get().parse().unwrap();
        let loaded: Decimal = cost.own_loaded_usd.get().parse().unwrap();
        assert_eq!(loaded, (busy * Decimal::from(8)).normalize());
        near(&arm["ttft_p50_seconds"], &it["ttft_p50"], "median");
        near(&arm["ttft_p95_seconds"], &it["ttft_p95"], "p95");
        near_interval(&arm["accepted_share"], &it["share"], "share");
        let per_accepted = &arm["usd_per_accepted_loaded"];
        near_interval(per_accepted, &it["usd_per_accepted_loaded"], "per accepted");
    }
}

#[test]
fn a_split_is_computed_as_by_the_script() {
    let (report, exact, expected) = computed("split");
    arms_are_right(&report, &exact, &expected);
    let it = &report["comparison"];
    near_interval(&it["quality_difference"], &expected["quality"], "quality");
    let [loaded, busy] =
        ["loaded", "busy"].map(|own| &it[format!("usd_per_accepted_{own}_relative")]);
    near_interval(loaded, &expected["cost_loaded"], "loaded");
    near_interval(busy, &expected["cost_busy"], "busy");
    let secondary = it["secondary"].as_array().unwrap();
    let mut p_values = Vec::new();
    for metric in secondary {
        let name = metric["metric"].as_str().unwrap();
        if let Some(expected) = expected["secondary"].get(name) {
            near_interval(&metric["difference"], expected, name);
            near(&metric["p_value"], &expected["p"], name);
        }
        p_values.push(metric["p_value"].as_f64().unwrap());
    }
    // Holm's smallest p-value is the smallest one times their number.
    let least = p_values.iter().copied().fold(1.0, f64::min);
    let adjusted = secondary
        .iter()
        .map(|it| it["holm_p_value"].as_f64().unwrap());
    let adjusted = adjusted.fold(1.0, f64::min);
    assert!((adjusted - (least * p_values.len() as f64).min(1.0)).abs() < 1e-12);

    near(
        &report["verdict"]["sample_ratio"]["p_value"],
        &expected["sample_ratio_p"],
        "sample ratio",
    );
    let (found, expected) = (&report["break_even"], &expected["break_even"]);
    let in_answers = &found["accepted_answers_per_day"];
    for name in ["volume", "low", "capacity"] {
        near(&in_answers[name], &expected[name], name);
    }
    match expected["high"].as_f64() {
        Some(_) => near(&in_answers["high"], &expected["high"], "high"),
        None => assert!(in_answers["high"].is_null()),
    }
    let in_tokens = &found["million_tokens_per_day"]["volume"];
    near(in_tokens, &expected["million_tokens"], "million tokens");
    assert_eq!(found["fixed_usd_per_day"].to_string(), "86.4");
}

#[test]
fn a_shadow_is_computed_by_pairs() {
    let (report, exact, expected) = computed("shadow");
    arms_are_right(&report, &exact, &expected);
    let it = &report["comparison"];
    near_interval(&it["quality_difference"], &expected["quality"], "quality");
    let loaded = &it["usd_per_accepted_loaded_relative"];
    near_interval(loaded, &expected["cost_loaded"], "loaded");
    assert!(report["verdict"]["sample_ratio"].is_null());
}
