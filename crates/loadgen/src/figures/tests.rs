//! Compared with numpy, by the definitions of vLLM's benchmark; `fixture.py` computed the fixture.

use serde::Deserialize;
use serde_json::{Map, Value};

use super::Figures;
use crate::record::{Answer, AnswerUsage, Failure, FailureKind, Record};
use crate::slo::{Slo, SloLimit};
use crate::window::Window;

#[derive(Deserialize)]
struct Fixture {
    answers: Vec<Scripted>,
    expected: Map<String, Value>,
}

#[derive(Deserialize)]
struct Scripted {
    sent_at: f64,
    text_at: Vec<f64>,
    ended_at: f64,
    prompt_tokens: u64,
    completion_tokens: u64,
}

fn answered(number: usize, scripted: Scripted) -> Record {
    Record {
        model: "m".into(),
        number,
        due_at: scripted.sent_at,
        sent_at: scripted.sent_at,
        prompt_tokens_asked: 1,
        output_tokens_asked: 1,
        outcome: Ok(Answer {
            text_at: scripted.text_at,
            ended_at: scripted.ended_at,
            usage: Some(AnswerUsage {
                prompt_tokens: Some(scripted.prompt_tokens),
                cached_tokens: None,
                completion_tokens: scripted.completion_tokens,
                device_seconds: None,
                usd: None,
            }),
        }),
    }
}

fn failed(number: usize, sent_at: f64, kind: FailureKind) -> Record {
    Record {
        model: "m".into(),
        number,
        due_at: sent_at,
        sent_at,
        prompt_tokens_asked: 1,
        output_tokens_asked: 1,
        outcome: Err(Failure {
            kind,
            message: format!("number {number}"),
            at: sent_at + 0.5,
        }),
    }
}

/// Sent at a moment, with a piece of text after a second and another after two.
fn simple(number: usize, sent_at: f64) -> Record {
    let scripted = Scripted {
        sent_at,
        text_at: vec![sent_at + 1.0, sent_at + 2.0],
        ended_at: sent_at + 2.0,
        prompt_tokens: 10,
        completion_tokens: 2,
    };
    answered(number, scripted)
}

fn figures(records: &[Record], warm_up_requests: usize, slo: Option<&Slo>) -> Figures {
    let window = Window::of(records, warm_up_requests).unwrap();
    Figures::of(records, warm_up_requests, &window, slo, &[50.0, 95.0, 99.0])
}

#[test]
fn the_figures_are_numpys() {
    let fixture: Fixture = serde_json::from_str(include_str!("fixture.json")).unwrap();
    let records: Vec<Record> = fixture
        .answers
        .into_iter()
        .enumerate()
        .map(|(number, scripted)| answered(number, scripted))
        .collect();
    let slo: Slo = ["ttft:400", "tpot:60"]
        .into_iter()
        .map(|limit| limit.parse::<SloLimit>().unwrap())
        .collect();
    let found = serde_json::to_value(figures(&records, 4, Some(&slo))).unwrap();
    for (name, expected) in fixture.expected {
        let (found, expected) = (found[&name].as_f64().unwrap(), expected.as_f64().unwrap());
        let error = (found - expected).abs();
        assert!(
            error <= 1e-9 * expected.abs(),
            "{name}: {found} is not {expected}"
        );
    }
}

#[test]
fn warm_up_and_drain_are_left_out() {
    // Two of warm-up, then one a second; the measured part is from 2 s to 7 s.
    let records: Vec<Record> = (0..8).map(|number| simple(number, number as f64)).collect();
    let figures = figures(&records, 2, None);
    assert_eq!((figures.duration, figures.includes_drain), (5.0, false));
    assert_eq!(figures.completed, 6);
    // Of numbers 0 to 5, of which the first two ended after the measured part began.
    assert_eq!(figures.completed_in_window, 6);
    assert_eq!(figures.total_output_tokens, 12.0);
    assert_eq!(figures.max_concurrent_requests, 2);
}

#[test]
fn a_burst_has_no_steady_part() {
    let records: Vec<Record> = (0..4).map(|number| simple(number, 0.1)).collect();
    let figures = figures(&records, 0, None);
    assert_eq!((figures.duration, figures.includes_drain), (2.0, true));
    assert_eq!(figures.total_output_tokens, 8.0);
}

#[test]
fn failures_are_counted_by_kind_and_miss_the_slo() {
    let mut records: Vec<Record> = (0..6).map(|number| simple(number, number as f64)).collect();
    records[2] = failed(2, 2.0, FailureKind::TooManyRequests);
    records[3] = failed(3, 3.0, FailureKind::TooManyRequests);
    records[4] = failed(4, 4.0, FailureKind::CutOff);
    let slo: Slo = ["ttft:5000".parse::<SloLimit>().unwrap()]
        .into_iter()
        .collect();
    let figures = figures(&records, 0, Some(&slo));
    assert_eq!((figures.completed, figures.failed), (3, 3));
    let told: Vec<_> = figures
        .failures
        .iter()
        .map(|it| (it.kind.as_str(), it.count, it.example.as_str()))
        .collect();
    assert_eq!(
        told,
        [
            ("status 429, too many requests", 2, "number 2"),
            ("cut off", 1, "number 4")
        ]
    );
    // The last answer ended after the window.
    assert_eq!(figures.request_goodput, Some(2.0 / 5.0));
    assert_eq!(figures.request_throughput(), 2.0 / 5.0);
}

#[test]
fn limits_are_read_and_others_refused() {
    let slo: Slo = ["ttft:500", "tpot:50.5"]
        .into_iter()
        .map(|limit| limit.parse::<SloLimit>().unwrap())
        .collect();
    assert_eq!(
        (slo.ttft_ms, slo.tpot_ms, slo.e2el_ms),
        (Some(500.0), Some(50.5), None)
    );
    assert_eq!(slo.to_string(), "TTFT ≤ 500 ms, TPOT ≤ 50.5 ms");
    for wrong in ["ttft", "ttft:", "ttft:-1", "itl:5", "ttft:inf", "ttft:nan"] {
        assert!(
            wrong.parse::<SloLimit>().unwrap_err().contains("ttft:MS"),
            "{wrong}"
        );
    }
}
