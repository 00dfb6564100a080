//! What a report says of ledgers that lack something.

use farthing_ledger::{ChargeBasis, Outcome, Role};
use serde_json::{Value, json};

use crate::book::{Attempt, Book, MICROS, SEVEN_US, SIX, json_of, spec};

const OURS: &str = "ours@ab12";

/// Users `from..to` of an arm, with two requests each. The first `accepted` of ten are accepted.
fn fill(book: &Book, arm: &str, users: std::ops::Range<u32>, accepted: u32, row: &Attempt) {
    for user in users {
        for number in 0..2 {
            let id = format!("{arm}-{user}-{number}");
            let unit = format!("user-{arm}-{user}");
            // Figures that vary, as real ones do.
            let mut row = row.clone();
            row.device_ps += row.device_ps / 100 * i128::from(user % 7);
            row.ttft_seconds = row.ttft_seconds.map(|it| it + f64::from(user % 11) / 100.0);
            book.request(arm, &unit, &id, 60, &[row]);
            let is_accepted = (user * 7 + number * 3) % 10 < accepted;
            book.rate(&id, "feedback", f64::from(u8::from(is_accepted)));
        }
    }
}

fn state(report: &Value) -> &str {
    report["verdict"]["state"].as_str().unwrap()
}

fn reason(report: &Value) -> &str {
    report["verdict"]["reason"].as_str().unwrap()
}

/// Our own arm is much cheaper and as good.
fn cheaper(book: &Book) {
    fill(book, "gpt", 0..300, 7, &Attempt::vendor("0.01"));
    fill(book, OURS, 0..300, 7, &Attempt::own());
    book.device(2000.0);
}

#[test]
fn a_cheaper_candidate_that_is_as_good_is_found() {
    let mut book = Book::new(Some("3.6"));
    cheaper(&book);
    let report = json_of(&book.report(&spec(json!({}))));
    assert_eq!(
        state(&report),
        "non_inferior_and_cheaper",
        "{}",
        reason(&report)
    );
    assert_eq!(report["arms"][1]["arm"], OURS);
    // $86.40 a day over some $0.0143 per accepted answer.
    let volume = report["break_even"]["accepted_answers_per_day"]["volume"]
        .as_f64()
        .unwrap();
    assert!((6_000.0..6_100.0).contains(&volume), "{volume}");
    let words = report["break_even"]["words"].as_str().unwrap();
    assert!(words.contains("million tokens a day"), "{words}");
}

#[test]
fn without_rows_everything_is_unknown() {
    let mut book = Book::new(Some("3.6"));
    let report = book.report(&spec(json!({})));
    let json = json_of(&report);
    assert_eq!(state(&json), "collecting");
    assert_eq!(json["arms"][0]["units"], 0);
    assert!(json["load"]["factor"].is_null());
    assert!(report.to_text().contains("Verdict: not yet"));
    assert!(report.to_html().contains("Verdict: not yet"));
}

#[test]
fn unknown_bills_are_at_least_and_leave_the_verdict_open() {
    let mut book = Book::new(Some("3.6"));
    cheaper(&book);
    let mut unknown = Attempt::vendor("0");
    unknown.billed = Some((None, ChargeBasis::Unknown));
    unknown.role = Role::Fallback;
    let mut failed = Attempt::own();
    failed.outcome = Outcome::Error;
    book.request(OURS, "user-x", "x", 70, &[failed, unknown]);
    let report = book.report(&spec(json!({})));
    let json = json_of(&report);
    assert_eq!(state(&json), "collecting");
    assert!(
        reason(&json).contains("1 bills of ours@ab12 are unknown"),
        "{}",
        reason(&json)
    );
    let cost = &json["arms"][1]["cost"];
    assert_eq!(
        (&cost["unknown_bills"], &cost["is_at_least"]),
        (&json!(1), &json!(true))
    );
    assert!(
        report.to_text().contains("at least $"),
        "{}",
        report.to_text()
    );
    assert!(json["break_even"]["accepted_answers_per_day"].is_null());
}

#[test]
fn a_machine_without_a_price_leaves_the_verdict_open() {
    let mut book = Book::new(None);
    cheaper(&book);
    let json = json_of(&book.report(&spec(json!({}))));
    assert_eq!(state(&json), "collecting");
    assert!(json["arms"][1]["cost"]["own_busy_usd"].is_null());
    assert!(json["arms"][1]["usd_per_accepted_busy"]["value"].is_null());
}

#[test]
fn without_feedback_there_is_no_quality() {
    let mut book = Book::new(Some("3.6"));
    for user in 0..80 {
        let arm = ["gpt", OURS][user % 2];
        let row = [Attempt::vendor("0.01"), Attempt::own()][user % 2].clone();
        let (unit, id) = (format!("u{user}"), format!("r{user}"));
        book.request(arm, &unit, &id, 60, &[row]);
        // A judge's values are not people's.
        book.rate(&id, "judge:strict", 1.0);
    }
    let json = json_of(&book.report(&spec(json!({}))));
    assert_eq!(state(&json), "collecting");
    assert_eq!(json["arms"][0]["rated_requests"], 0);
    let by_judge =
        json!({"quality": {"metric": "accepted", "from": "judge", "accept_at_least": 0.5}});
    let json = json_of(&book.report(&spec(by_judge)));
    assert_eq!(json["arms"][0]["rated_requests"], 40);
}

#[test]
fn a_wrong_sample_ratio_blocks_the_verdict() {
    let mut book = Book::new(Some("3.6"));
    fill(&book, "gpt", 0..300, 7, &Attempt::vendor("0.01"));
    fill(&book, OURS, 0..220, 7, &Attempt::own());
    book.device(2000.0);
    let json = json_of(&book.report(&spec(json!({}))));
    assert_eq!(state(&json), "invalid");
    assert!(
        reason(&json).contains("300 and 220 units"),
        "{}",
        reason(&json)
    );
    // With the weights that they had, the same counts are right.
    let report = book.report_at(&spec(json!({})), [300.0, 220.0], SIX * MICROS);
    assert_eq!(state(&json_of(&report)), "non_inferior_and_cheaper");
}

#[test]
fn an_a_a_test_says_that_it_is_one() {
    let mut book = Book::new(Some("3.6"));
    cheaper(&book);
    let json = json_of(&book.report(&spec(json!({"aa": true}))));
    assert!(reason(&json).starts_with("A/A test"), "{}", reason(&json));
}

#[test]
fn one_unit_in_an_arm_is_too_few() {
    let mut book = Book::new(Some("3.6"));
    fill(&book, "gpt", 0..1, 7, &Attempt::vendor("0.01"));
    fill(&book, OURS, 0..1, 7, &Attempt::own());
    let json = json_of(&book.report(&spec(json!({}))));
    assert_eq!(state(&json), "collecting");
    let share = &json["arms"][0]["accepted_share"];
    assert!(share["interval"].is_null() && share["missing_because"].is_string());
    assert_eq!(json["arms"][0]["units"], 1);
}

/// A hot swap starts a new arm, and only requests since then are compared.
#[test]
fn generations_are_never_mixed() {
    let mut book = Book::new(Some("3.6"));
    for user in 0..40 {
        let unit = format!("u{user}");
        let (arm, late) = if user < 20 {
            ("gpt", "gpt")
        } else {
            ("ours@old", "ours@new")
        };
        let row = if user < 20 {
            Attempt::vendor("0.01")
        } else {
            Attempt::own()
        };
        book.request(
            arm,
            &unit,
            &format!("{unit}-early"),
            10,
            std::slice::from_ref(&row),
        );
        book.request(late, &unit, &format!("{unit}-late"), 600, &[row]);
    }
    let report = book.report(&spec(json!({})));
    let json = json_of(&report);
    let arms = json["arms"].as_array().unwrap();
    let names: Vec<_> = arms
        .iter()
        .map(|arm| (&arm["arm"], &arm["requests"]))
        .collect();
    assert_eq!(
        names,
        [
            (&json!("gpt"), &json!(20)),
            (&json!("ours@new"), &json!(20))
        ]
    );
    assert_eq!(json["period"]["from"], "2026-11-24T06:10:00Z");
    let note = json["notes"][0].as_str().unwrap();
    assert!(note.contains("a new generation began: ours@new"), "{note}");
    let ended = json["earlier_arms"].as_array().unwrap();
    let ended: Vec<_> = ended
        .iter()
        .map(|arm| (&arm["arm"], &arm["requests"]))
        .collect();
    assert_eq!(
        ended,
        [
            (&json!("gpt"), &json!(20)),
            (&json!("ours@old"), &json!(20))
        ]
    );
}

/// Results are read by the assigned arm, and every attempt costs.
#[test]
fn a_fallback_belongs_to_the_assigned_arm() {
    let mut book = Book::new(Some("3.6"));
    let mut failed = Attempt::own();
    failed.outcome = Outcome::Error;
    failed.ttft_seconds = None;
    let mut saved = Attempt::vendor("0.5");
    saved.role = Role::Fallback;
    book.request(OURS, "ann", "r1", 60, &[failed.clone(), saved]);
    book.request(OURS, "bob", "r2", 60, &[failed]);
    book.assign(OURS, "eve", "r3", 60);
    book.device(2.0);
    let json = json_of(&book.report(&spec(json!({}))));
    let [baseline, ours] = [0, 1].map(|arm| &json["arms"][arm]);
    assert_eq!(baseline["requests"], 0);
    let counts = [
        "units",
        "requests",
        "requests_without_attempt",
        "answered_requests",
        "failed_requests",
        "attempts",
        "failed_attempts",
        "fallbacks",
    ];
    assert_eq!(
        counts.map(|name| ours[name].as_u64().unwrap()),
        [3, 3, 1, 1, 1, 3, 2, 1]
    );
    assert_eq!(ours["requests_served_by"], json!({"gpt": 1, "ours": 1}));
    let cost = &ours["cost"];
    assert_eq!(cost["vendor_usd"].to_string(), "0.5");
    assert_eq!(cost["own_busy_usd"].to_string(), "0.002");
}

#[test]
fn judges_cost_beside_the_arms() {
    let mut book = Book::new(Some("3.6"));
    let mut judge = Attempt::vendor("0.25");
    judge.role = Role::Judge;
    book.request(OURS, "ann", "r1", 60, &[Attempt::own(), judge]);
    let json = json_of(&book.report(&spec(json!({}))));
    assert_eq!(json["judge_usd"].to_string(), "0.25");
    let ours = &json["arms"][1];
    assert_eq!(
        (&ours["attempts"], &ours["cost"]["vendor_usd"]),
        (&json!(1), &json!(0))
    );
}

#[test]
fn a_harmful_candidate_is_rolled_back() {
    let mut book = Book::new(Some("3.6"));
    let mut failed = Attempt::own();
    failed.outcome = Outcome::Error;
    fill(&book, "gpt", 0..200, 7, &Attempt::vendor("0.01"));
    fill(&book, OURS, 0..200, 7, &failed);
    let guarded = |action| {
        spec(json!({"guardrails": {
            "error_rate": {"limit": 0.05, "action": action},
            "ttft_p95_seconds": {"limit": 1.0, "action": "roll_back"},
        }}))
    };
    let report = book.report(&guarded("roll_back"));
    assert!(report.must_roll_back());
    let json = json_of(&report);
    assert_eq!(json["guardrails"][0]["status"]["action"], "roll_back");
    assert!(!book.report(&guarded("warn")).must_roll_back());
}

/// The first look at the planned number decides. Later rows change nothing.
#[test]
fn a_verdict_at_a_fixed_horizon_is_frozen() {
    let horizon =
        |units: u32| spec(json!({"inference": {"fixed_horizon": {"units_per_arm": units}}}));
    let mut book = Book::new(Some("3.6"));
    cheaper(&book);
    let early = book.report(&horizon(301));
    assert!(early.to_decide().is_none());
    assert_eq!(state(&json_of(&early)), "collecting");
    let first = book.report(&horizon(300));
    let decided = first.to_decide().unwrap().clone();
    assert_eq!(decided.decided_us, SEVEN_US);
    book.reopen();
    book.decide(&decided);
    // The candidate turns out to be bad.
    fill(&book, OURS, 300..600, 0, &Attempt::own());
    fill(&book, "gpt", 300..600, 10, &Attempt::vendor("0.01"));
    let later = book.report(&horizon(300));
    assert!(later.to_decide().is_none());
    let json = json_of(&later);
    assert_eq!(state(&json), "non_inferior_and_cheaper");
    assert_eq!(json["verdict"]["decided_at"], "2026-11-24T07:00:00Z");
    // Another plan is another verdict.
    let other = book.report(&horizon(500));
    assert_eq!(state(&json_of(&other)), "worse");
    assert!(other.to_decide().is_some());
}

#[test]
fn only_requests_since_the_last_change_of_weights_are_compared() {
    let mut book = Book::new(Some("3.6"));
    for (user, after) in [(1, 10), (2, 700)] {
        let unit = format!("u{user}");
        book.request(
            "gpt",
            &unit,
            &format!("r{user}"),
            after,
            &[Attempt::vendor("0.01")],
        );
    }
    let report = book.report_at(&spec(json!({})), [1.0, 1.0], (SIX + 600) * MICROS);
    let json = json_of(&report);
    assert_eq!(json["arms"][0]["requests"], 1);
    let note = json["notes"][0].as_str().unwrap();
    assert!(note.contains("the weights of the arms changed"), "{note}");
}

#[test]
fn a_unit_in_both_arms_is_noted() {
    let mut book = Book::new(Some("3.6"));
    book.request("gpt", "ann", "r1", 60, &[Attempt::vendor("0.01")]);
    book.request(OURS, "ann", "r2", 60, &[Attempt::own()]);
    let json = json_of(&book.report(&spec(json!({}))));
    let note = json["notes"][0].as_str().unwrap();
    assert!(note.starts_with("1 units are in both arms"), "{note}");
}
