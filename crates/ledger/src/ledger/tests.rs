//! Databases that are slow, unreachable, and available again.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::sync::mpsc::{Receiver, Sender};

use super::*;
use crate::store::notes::{Noted, Notes};
use crate::store::{Flush, Row};
use crate::{Outcome, Picoseconds};

/// A store in which the test decides how every flush ends.
struct ScriptedStore {
    answers: Receiver<bool>,
    flushes: Sender<Seen>,
}

#[derive(Debug, PartialEq)]
struct Seen {
    seqs: Vec<i64>,
    is_last: bool,
    succeeded: bool,
}

struct Script {
    ledger: Ledger,
    answers: Sender<bool>,
    flushes: Receiver<Seen>,
}

impl Store for ScriptedStore {
    fn begin(&mut self, _: Run) -> Result<(), LedgerError> {
        Ok(())
    }

    fn write(&mut self, flush: &Flush<'_>) -> Result<(), LedgerError> {
        // After the end of the script, all flushes succeed.
        let succeeded = self.answers.recv().unwrap_or(true);
        let seen = Seen {
            seqs: flush.entries.iter().map(|(seq, _)| *seq).collect(),
            is_last: flush.is_last,
            succeeded,
        };
        let _ = self.flushes.send(seen);
        if succeeded {
            Ok(())
        } else {
            Err(LedgerError::Corrupt("no disk".to_owned()))
        }
    }

    fn note(&mut self, _: &Notes<'_>) -> Result<Noted, LedgerError> {
        Ok(Noted::default())
    }

    fn query(
        &mut self,
        _: &str,
        _: &[String],
        _: &mut dyn FnMut(&dyn Row) -> Result<(), LedgerError>,
    ) -> Result<(), LedgerError> {
        Ok(())
    }
}

fn script(places: usize) -> Script {
    let (answers, answered) = mpsc::channel();
    let (seen, flushes) = mpsc::channel();
    let store = ScriptedStore {
        answers: answered,
        flushes: seen,
    };
    let config = LedgerConfig {
        location: Location::Sqlite("scripted".into()),
        model: "base".to_owned(),
        version: "test".to_owned(),
        price: None,
        started_us: 0,
    };
    let device = Box::new(DeviceSeconds::default);
    let ledger = Ledger::start(Box::new(store), config, places, device).unwrap();
    Script {
        ledger,
        answers,
        flushes,
    }
}

fn entry() -> LedgerEntry {
    LedgerEntry {
        request_id: String::new(),
        started_us: 0,
        ended_us: 0,
        api_key: None,
        tenant: None,
        user: None,
        model: String::new(),
        adapter: None,
        adapter_generation: None,
        input_tokens: 0,
        cached_tokens: 0,
        output_tokens: 0,
        device_time: Picoseconds::default(),
        input_time: Picoseconds::default(),
        cached_time: Picoseconds::default(),
        output_time: Picoseconds::default(),
        cost_usd: None,
        queue_seconds: None,
        ttft_seconds: None,
        itl_p50_seconds: None,
        itl_p95_seconds: None,
        outcome: Outcome::Stop,
        status: 200,
        prompt: None,
        routing: None,
        vendor: None,
    }
}

impl Script {
    fn record(&self) {
        self.ledger.place().unwrap().record(entry());
    }

    /// Sets the result of the next flush and returns it. Heartbeats without rows are skipped.
    fn answer(&self, succeeds: bool) -> Seen {
        loop {
            self.answers.send(succeeds).unwrap();
            let seen = self.flushes.recv().unwrap();
            if !seen.seqs.is_empty() {
                return seen;
            }
        }
    }
}

#[test]
fn a_flush_that_fails_is_tried_again_with_all_its_rows() {
    let script = script(8);
    script.record();
    let seen = script.answer(false);
    assert_eq!((seen.seqs, seen.succeeded), (vec![0], false));
    script.record();
    let seen = script.answer(false);
    assert_eq!(seen.seqs, [0, 1]);
    let status = script.ledger.status();
    assert_eq!(status.error.as_deref(), Some("the ledger holds no disk"));
    assert_eq!((status.written, status.places_taken), (0, 2));

    let seen = script.answer(true);
    assert_eq!(seen.seqs, [0, 1]);
    drop(script.answers);
    script.ledger.close(Duration::from_secs(30)).unwrap();
    let status = script.ledger.status();
    assert_eq!((status.written, status.places_taken), (2, 0));
    assert!(status.failed_flushes >= 2, "{status:?}");
    assert_eq!(status.error, None);
}

#[test]
fn no_more_places_are_given_than_there_are() {
    let script = script(3);
    script.record();
    let places: Vec<_> = (0..2).map(|_| script.ledger.place().unwrap()).collect();
    assert!(script.ledger.place().is_none());
    assert_eq!(script.ledger.status().refused, 1);
    drop(places);
    script.record();
    script.record();
    // Waiting rows hold their places, also while flushes fail.
    script.answer(false);
    assert!(script.ledger.place().is_none());
    assert_eq!(script.answer(true).seqs.len(), 3);
    while script.ledger.status().places_taken > 0 {
        std::thread::yield_now();
    }
    assert!(script.ledger.place().is_some());
}

#[test]
fn closing_tells_of_rows_that_are_left_over() {
    let script = script(8);
    script.record();
    (0..16).for_each(|_| script.answers.send(false).unwrap());
    match script.ledger.close(Duration::from_millis(1)) {
        Err(LedgerError::Unwritten { rows: 1, reason }) => assert!(reason.contains("no disk")),
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_last_flush_says_that_it_is_the_last() {
    let script = script(8);
    script.record();
    drop(script.answers);
    script.ledger.close(Duration::from_secs(30)).unwrap();
    let seen: Vec<_> = script.flushes.iter().collect();
    assert_eq!(seen.iter().filter(|flush| flush.is_last).count(), 1);
    assert!(seen.last().unwrap().is_last);
    let seqs: Vec<_> = seen.into_iter().flat_map(|flush| flush.seqs).collect();
    assert_eq!(seqs, [0]);
}
