//! The rows of an experiment.

use std::time::Duration;

use farthing_ledger::{
    AssignedArm, AssignedTo, Assignment, ChargeBasis, DeviceSeconds, ExperimentRows, Feedback,
    LedgerEntry, Outcome, Picoseconds, Role, Routing, VendorCharge, Window,
};

use crate::databases::each_database;
use crate::samples::{Clock, MICROS, SIX, close, entry, open, open_at, reader, record};

/// Texts that databases with a locale would order otherwise.
const UNITS: [&str; 4] = ["Zoe", "ann", "Éva", "ann b"];

fn attempt(unit: &str, request: u64, attempt: u32, role: Role) -> LedgerEntry {
    LedgerEntry {
        request_id: format!("chatcmpl-{request}"),
        routing: Some(Routing {
            route: "chat".to_owned(),
            role,
            attempt,
            arm: if role == Role::Fallback {
                "gpt"
            } else {
                "ours"
            }
            .to_owned(),
            assigned: Some(AssignedArm {
                experiment: "exp-1".to_owned(),
                arm: "ours".to_owned(),
                unit: unit.to_owned(),
            }),
        }),
        ..entry(f64::from(attempt))
    }
}

fn rows(experiment: &str) -> ExperimentRows {
    ExperimentRows {
        experiment: experiment.to_owned(),
        from_us: SIX * MICROS,
        until_us: (SIX + 100) * MICROS,
    }
}

#[test]
fn rows_come_by_arm_unit_request_and_attempt() {
    each_database(|database| {
        let ledger = open(database, &Clock::default());
        let runtime = tokio::runtime::Runtime::new().unwrap();
        for (number, unit) in UNITS.iter().enumerate() {
            for request in [number as u64 * 2 + 1, number as u64 * 2] {
                let assigned = Assignment {
                    experiment: "exp-1".to_owned(),
                    arm: "ours".to_owned(),
                    unit: (*unit).to_owned(),
                    request_id: format!("chatcmpl-{request}"),
                    assigned_us: SIX * MICROS + request as i64,
                };
                runtime.block_on(ledger.assign(assigned)).unwrap();
                let mut failed = attempt(unit, request, 1, Role::Primary);
                failed.outcome = Outcome::Error;
                failed.ttft_seconds = None;
                let mut second = attempt(unit, request, 2, Role::Fallback);
                second.vendor = Some(VendorCharge {
                    vendor: "openai".to_owned(),
                    model: "gpt-5".to_owned(),
                    usage_json: None,
                    billed_usd: Some("0.000000000000000001".parse().unwrap()),
                    basis: ChargeBasis::Measured,
                });
                record(&ledger, second);
                record(&ledger, failed);
            }
        }
        // Other experiments, and requests without one, are not among them.
        record(&ledger, entry(1.0));
        let mut other = attempt("ann", 99, 1, Role::Primary);
        other
            .routing
            .as_mut()
            .unwrap()
            .assigned
            .as_mut()
            .unwrap()
            .experiment = "b".to_owned();
        record(&ledger, other);
        close(&ledger);

        let mut units = UNITS.map(str::to_owned);
        units.sort();
        let mut found = Vec::new();
        reader(database)
            .assigned_requests(&rows("exp-1"), "accepted", |it| {
                found.push((it.unit, it.request_id));
            })
            .unwrap();
        let mut sorted = found.clone();
        sorted.sort();
        assert_eq!(found, sorted);
        let by_unit: Vec<_> = found.iter().step_by(2).map(|(unit, _)| unit).collect();
        assert_eq!(by_unit, units.each_ref());

        let mut attempts = Vec::new();
        reader(database)
            .assigned_attempts(&rows("exp-1"), |it| attempts.push(it))
            .unwrap();
        let order: Vec<_> = attempts
            .iter()
            .map(|it| (it.unit.clone(), it.request_id.clone()))
            .collect();
        let doubled = found.iter().flat_map(|it| [it.clone(), it.clone()]);
        assert_eq!(order, doubled.collect::<Vec<_>>());
        let [first, second] = &attempts[..2] else {
            panic!("{attempts:?}")
        };
        assert_eq!((first.role, first.outcome), (Role::Primary, Outcome::Error));
        assert_eq!(
            (first.ttft, first.basis, first.billed_usd),
            (None, None, None)
        );
        assert_eq!(first.price.unwrap().usd(), "0.10".parse().unwrap());
        assert_eq!((&*second.arm, &*second.served_arm), ("ours", "gpt"));
        assert_eq!(second.ttft, Some(Duration::from_millis(250)));
        assert_eq!(
            second.billed_usd.unwrap().to_string(),
            "0.000000000000000001"
        );
    });
}

#[test]
fn requests_are_of_the_time_and_have_the_values_of_a_metric() {
    each_database(|database| {
        let ledger = open(database, &Clock::default());
        let runtime = tokio::runtime::Runtime::new().unwrap();
        for (request, after) in [(1, -1), (2, 0), (3, 99), (4, 100)] {
            let assigned = Assignment {
                experiment: "exp-1".to_owned(),
                arm: "ours".to_owned(),
                unit: "ann".to_owned(),
                request_id: format!("chatcmpl-{request}"),
                assigned_us: (SIX + after) * MICROS,
            };
            runtime.block_on(ledger.assign(assigned)).unwrap();
            for (metric, value) in [("accepted", 1.0), ("helpful", 0.5)] {
                if request == 3 && metric == "accepted" {
                    continue;
                }
                let said = Feedback {
                    request_id: format!("chatcmpl-{request}"),
                    metric: metric.to_owned(),
                    source: "check".to_owned(),
                    value: Some(value),
                    comment: None,
                    received_us: SIX * MICROS,
                };
                runtime.block_on(ledger.record_feedback(said)).unwrap();
            }
        }
        close(&ledger);
        let mut found = Vec::new();
        reader(database)
            .assigned_requests(&rows("exp-1"), "accepted", |it| {
                found.push((it.request_id, it.value, it.source));
            })
            .unwrap();
        let expected = [
            ("chatcmpl-2".to_owned(), Some(1.0), Some("check".to_owned())),
            ("chatcmpl-3".to_owned(), None, None),
        ];
        assert_eq!(found, expected);
        let arms = reader(database).assigned_arms(&rows("exp-1")).unwrap();
        let expected = AssignedTo {
            arm: "ours".to_owned(),
            requests: 2,
            first_us: SIX * MICROS,
            last_us: (SIX + 99) * MICROS,
        };
        assert_eq!(arms, [expected]);
    });
}

#[test]
fn device_use_is_of_all_runs() {
    each_database(|database| {
        for (start, price) in [(SIX, Some("1")), (SIX + 60, Some("2")), (SIX + 120, None)] {
            let clock = Clock::default();
            let ledger = open_at(database, &clock, start, price);
            clock.set(DeviceSeconds {
                window: 50.0,
                steps: 10.0,
                idle: 40.0,
                ..DeviceSeconds::default()
            });
            close(&ledger);
        }
        let window = Window::new(SIX, SIX + 180).unwrap();
        let used = reader(database).device_use(window).unwrap();
        assert_eq!(used.window, Picoseconds::from_seconds(150.0));
        assert_eq!(used.steps, Picoseconds::from_seconds(30.0));
        assert_eq!(used.latest_price.unwrap().usd(), 2.into());
    });
}
