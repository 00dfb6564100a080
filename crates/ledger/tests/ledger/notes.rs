//! What someone acts on is in the database before they do.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use farthing_ledger::{
    Assignment, DecidedVerdict, ExperimentRows, Feedback, FeedbackChange, Ledger, LedgerEntry,
    LedgerError, Location,
};
use tokio::runtime::Runtime;

use crate::databases::{each_database, location};
use crate::samples::{Clock, MICROS, SIX, close, entry, open, reader, record};

fn assignment(number: u64) -> Assignment {
    Assignment {
        experiment: "exp-1".to_owned(),
        arm: ["ours@ab12", "gpt"][number as usize % 2].to_owned(),
        unit: format!("user-{}", number / 2),
        request_id: format!("chatcmpl-{number}"),
        assigned_us: SIX * MICROS + number as i64,
    }
}

fn feedback(request_id: &str, value: f64) -> Feedback {
    Feedback {
        request_id: request_id.to_owned(),
        metric: "accepted".to_owned(),
        source: "feedback".to_owned(),
        value: Some(value),
        comment: None,
        received_us: SIX * MICROS,
    }
}

fn all() -> ExperimentRows {
    ExperimentRows {
        experiment: "exp-1".to_owned(),
        from_us: 0,
        until_us: i64::MAX,
    }
}

/// The requests of the experiment, with their values.
fn requests(database: &str) -> Vec<(String, Option<f64>)> {
    let mut found = Vec::new();
    let each = |request: farthing_ledger::AssignedRequest| {
        found.push((request.request_id, request.value));
    };
    reader(database)
        .assigned_requests(&all(), "accepted", each)
        .unwrap();
    found
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap()
}

#[test]
fn an_assignment_is_there_when_it_is_told() {
    each_database(|database| {
        let ledger = open(database, &Clock::default());
        let assign = |it| runtime().block_on(ledger.assign(it)).unwrap();
        for number in 0..20 {
            assign(assignment(number));
            assert_eq!(requests(database).len() as u64, number + 1);
        }
        // A second time, and to another arm, it changes nothing.
        for arm in ["gpt", "ours@ab12"] {
            let mut again = assignment(3);
            again.arm = arm.to_owned();
            assign(again);
        }
        assert_eq!(requests(database).len(), 20);
        let mut arms = Vec::new();
        reader(database)
            .assigned_requests(&all(), "accepted", |it| {
                if it.request_id == "chatcmpl-3" {
                    arms.push((it.arm, it.unit, it.assigned_us));
                }
            })
            .unwrap();
        let first = assignment(3);
        assert_eq!(arms, [(first.arm, first.unit, first.assigned_us)]);
        close(&ledger);
    });
}

#[test]
fn many_assignments_at_once_are_all_there() {
    each_database(|database| {
        let ledger = open(database, &Clock::default());
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let tasks: Vec<_> = (0..2_000)
            .map(|number| runtime.spawn(ledger.assign(assignment(number))))
            .collect();
        // Rows that wait for the regular flush are not in the way.
        (0..2_000).for_each(|row| record(&ledger, entry(row.into())));
        for task in tasks {
            runtime.block_on(task).unwrap().unwrap();
        }
        assert_eq!(requests(database).len(), 2_000);
        close(&ledger);
        assert_eq!(ledger.status().written, 2_000);
    });
}

/// Names the ledger that the killed process writes.
const VICTIM: &str = "FARTHING_TEST_ASSIGNING_VICTIM";

#[test]
fn an_assignment_that_was_acted_on_survives_a_kill() {
    each_database(|database| {
        let mut victim = Command::new(std::env::current_exe().unwrap())
            .args(["notes::the_assigning_victim", "--exact", "--nocapture"])
            .env(VICTIM, database)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let output = BufReader::new(victim.stdout.take().unwrap());
        let mut acted_on = Vec::new();
        for line in output.lines() {
            let line = line.unwrap();
            if let Some((_, request_id)) = line.split_once("acted on ") {
                acted_on.push(request_id.to_owned());
            }
            if acted_on.len() == 300 {
                victim.kill().unwrap();
                break;
            }
        }
        victim.wait().unwrap();
        let found: Vec<_> = requests(database).into_iter().map(|(id, _)| id).collect();
        for request_id in acted_on {
            assert!(found.contains(&request_id), "{request_id} is lost");
        }
    });
}

/// Not a test by itself: the process that the test above kills.
#[test]
fn the_assigning_victim() {
    let Ok(database) = std::env::var(VICTIM) else {
        return;
    };
    let ledger: Ledger = open(&database, &Clock::default());
    runtime().block_on(async {
        for number in 0.. {
            ledger.assign(assignment(number)).await.unwrap();
            println!("acted on chatcmpl-{number}");
            record(&ledger, entry(0.0));
        }
    });
}

/// Locks the ledger for all others while `test` runs.
fn while_locked(database: &str, test: impl FnOnce()) {
    match location(database) {
        Location::Sqlite(path) => {
            let other = rusqlite::Connection::open(path).unwrap();
            other.execute_batch("BEGIN IMMEDIATE").unwrap();
            test();
            other.execute_batch("ROLLBACK").unwrap();
        }
        Location::Postgres(url) => {
            let mut other = postgres::Client::connect(&url, postgres::NoTls).unwrap();
            let mut transaction = other.transaction().unwrap();
            transaction
                .batch_execute("LOCK TABLE farthing.assignments IN ACCESS EXCLUSIVE MODE")
                .unwrap();
            test();
            transaction.rollback().unwrap();
        }
    }
}

#[test]
fn a_frozen_database_is_an_error_and_blocks_nobody() {
    each_database(|database| {
        let ledger = open(database, &Clock::default());
        let runtime = runtime();
        while_locked(database, || {
            let began = Instant::now();
            runtime.block_on(async {
                let mut assigning = std::pin::pin!(ledger.assign(assignment(1)));
                // The only thread of the runtime goes on with other work.
                let mut clock = tokio::time::interval(Duration::from_millis(20));
                let mut ticks = 0;
                let refused = loop {
                    tokio::select! {
                        refused = &mut assigning => break refused,
                        _ = clock.tick() => ticks += 1,
                    }
                };
                assert!(
                    matches!(
                        refused,
                        Err(LedgerError::NotRecorded { .. } | LedgerError::NoAnswer { .. })
                    ),
                    "{refused:?}"
                );
                assert!(ticks > 1);
            });
            // Two seconds, and what a busy machine adds.
            assert!(began.elapsed() < Duration::from_secs(30));
        });
        runtime.block_on(ledger.assign(assignment(2))).unwrap();
        assert!(requests(database).iter().any(|(id, _)| id == "chatcmpl-2"));
        close(&ledger);
    });
}

#[test]
fn a_closed_ledger_refuses() {
    each_database(|database| {
        let ledger = open(database, &Clock::default());
        close(&ledger);
        let refused = runtime().block_on(ledger.assign(assignment(1)));
        assert!(
            matches!(refused, Err(LedgerError::NotRecorded { .. })),
            "{refused:?}"
        );
    });
}

#[test]
fn later_feedback_replaces_the_earlier_one() {
    each_database(|database| {
        let ledger = open(database, &Clock::default());
        runtime().block_on(async {
            ledger.assign(assignment(1)).await.unwrap();
            let say = async |value, source: &str| {
                let mut said = feedback("chatcmpl-1", value);
                said.source = source.to_owned();
                ledger.record_feedback(said).await.unwrap()
            };
            assert_eq!(say(1.0, "feedback").await, FeedbackChange::Added);
            assert_eq!(say(1.0, "feedback").await, FeedbackChange::Unchanged);
            assert_eq!(say(0.0, "feedback").await, FeedbackChange::Replaced);
            assert_eq!(say(1.0, "check").await, FeedbackChange::Added);
            let mut comment = feedback("chatcmpl-1", 0.0);
            comment.comment = Some("no\0".to_owned());
            let changed = ledger.record_feedback(comment).await.unwrap();
            assert_eq!(changed, FeedbackChange::Replaced);
        });
        // In the order of sources: check, feedback.
        let both = ["chatcmpl-1".to_owned(), "chatcmpl-1".to_owned()];
        let found = requests(database);
        assert_eq!(
            found,
            both.into_iter()
                .zip([Some(1.0), Some(0.0)])
                .collect::<Vec<_>>()
        );
        close(&ledger);
    });
}

#[test]
fn feedback_on_an_unknown_request_is_refused() {
    each_database(|database| {
        let ledger = open(database, &Clock::default());
        let say = |request_id: &str| {
            let recorded = ledger.record_feedback(feedback(request_id, 1.0));
            runtime().block_on(recorded)
        };
        let is_unknown =
            |answer: &Result<_, _>| matches!(answer, Err(LedgerError::UnknownRequest { .. }));
        assert!(is_unknown(&say("chatcmpl-9")));

        // It runs: its place says so.
        let mut place = ledger.place().unwrap();
        place.announce("chatcmpl-9");
        assert_eq!(say("chatcmpl-9").unwrap(), FeedbackChange::Added);
        assert!(is_unknown(&say("chatcmpl-10")));
        drop(place);

        // It has ended, and its row waits or is written.
        let mut place = ledger.place().unwrap();
        place.announce("chatcmpl-11");
        place.record(LedgerEntry {
            request_id: "chatcmpl-11".to_owned(),
            ..entry(0.0)
        });
        assert_eq!(say("chatcmpl-11").unwrap(), FeedbackChange::Added);
        while ledger.status().written < 1 {
            std::thread::yield_now();
        }
        assert_eq!(say("chatcmpl-11").unwrap(), FeedbackChange::Unchanged);
        assert!(is_unknown(&say("chatcmpl-12")));

        // While a request runs whose id nobody knows, it may be this one.
        let place = ledger.place().unwrap();
        assert_eq!(say("chatcmpl-13").unwrap(), FeedbackChange::Added);
        drop(place);
        close(&ledger);
    });
}

#[test]
fn feedback_that_says_nothing_is_refused() {
    each_database(|database| {
        let ledger = open(database, &Clock::default());
        for broken in [
            feedback("", 1.0),
            feedback("chatcmpl-1", f64::NAN),
            feedback("chatcmpl-1", f64::INFINITY),
        ] {
            let refused = runtime().block_on(ledger.record_feedback(broken));
            assert!(matches!(refused, Err(LedgerError::Value(_))), "{refused:?}");
        }
        close(&ledger);
    });
}

#[test]
fn the_first_verdict_holds() {
    each_database(|database| {
        let ledger = open(database, &Clock::default());
        let verdict = |plan: &str, verdict: &str| DecidedVerdict {
            experiment: "exp-1".to_owned(),
            plan: plan.to_owned(),
            decided_us: SIX * MICROS,
            verdict: verdict.to_owned(),
        };
        runtime().block_on(async {
            let decide = async |it| ledger.decide(it).await.unwrap();
            let first = verdict("a", "worse");
            assert_eq!(decide(first.clone()).await, first);
            assert_eq!(decide(verdict("a", "cheaper")).await, first);
            assert_eq!(decide(verdict("b", "cheaper")).await.verdict, "cheaper");
        });
        close(&ledger);
        let held = reader(database).decided_verdict("exp-1", "a").unwrap();
        assert_eq!(held, Some(verdict("a", "worse")));
        let none = reader(database).decided_verdict("exp-1", "c").unwrap();
        assert_eq!(none, None);
    });
}
