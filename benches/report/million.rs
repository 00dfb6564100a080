//! How long a report takes.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context;
use farthing_gateway::{ExperimentSpec, Report, Split};
use farthing_ledger::{Ledger, LedgerReader, Location};
use tokio::runtime::Runtime;

use crate::rows::{START_US, assignment, entry, feedback, open};

const SPEC: &str = r#"
id = "exp-1"
route = "legal"
baseline = "gpt"
candidate = "ours"
unit = "user"
salt = "s"
margin = 0.02
inference = { always_valid = { tuned_to = 50000 } }
started = "2026-11-24T06:00:00Z"
quality = { metric = "accepted", from = "feedback", accept_at_least = 1.0 }
guardrails = { error_rate = { limit = 0.02, action = "roll_back" }, ttft_p95_seconds = { limit = 1.0, action = "warn" }, spend = { limit = 0.5, action = "warn" } }
"#;

/// This many notes are sent at once.
const AT_ONCE: u32 = 8192;

/// The median of three reports over `rows` attempts, each with its assignment, and three in ten with
/// feedback.
pub(crate) fn measure(path: &Path, rows: u32, requests_per_unit: u32) -> anyhow::Result<Duration> {
    fill(path, rows, requests_per_unit)?;
    let spec = ExperimentSpec::from_toml(SPEC)?;
    let split = Split {
        weights: [1.0, 1.0],
        since_us: START_US,
    };
    let mut took = Vec::new();
    for _ in 0..3 {
        let began = Instant::now();
        let mut reader = LedgerReader::open(&Location::Sqlite(path.to_owned()))?;
        let report = Report::compute(&mut reader, &spec, &split, START_US + 3_600_000_000)?;
        let json = serde_json::to_string(&report)?;
        let shown = report.to_text().len() + report.to_html().len();
        took.push(began.elapsed());
        let json: serde_json::Value = serde_json::from_str(&json)?;
        let requests = [0, 1].map(|arm| json["arms"][arm]["requests"].as_u64());
        let found = requests[0].zip(requests[1]).map(|(one, other)| one + other);
        anyhow::ensure!(
            found == Some(rows.into()) && shown > 0,
            "{found:?} of {rows} requests were found"
        );
    }
    took.sort_unstable();
    Ok(took[1])
}

fn fill(path: &Path, rows: u32, requests_per_unit: u32) -> anyhow::Result<()> {
    let ledger = open(path)?;
    let runtime = Runtime::new()?;
    for first in (0..rows).step_by(AT_ONCE as usize) {
        let chunk = first..rows.min(first + AT_ONCE);
        let assigned = chunk
            .clone()
            .map(|number| ledger.assign(assignment(number, requests_per_unit)));
        all(&runtime, assigned)?;
        let rated = chunk.filter(|number| number % 10 < 3);
        all(
            &runtime,
            rated.map(|number| ledger.record_feedback(feedback(number))),
        )?;
    }
    // While notes arrive, rows are written in small batches: so they come last.
    (0..rows).for_each(|number| record(&ledger, number, requests_per_unit));
    Ok(ledger.close(Duration::from_secs(600))?)
}

fn all<T: Send + 'static>(
    runtime: &Runtime,
    notes: impl Iterator<
        Item = impl Future<Output = Result<T, farthing_ledger::LedgerError>> + Send + 'static,
    >,
) -> anyhow::Result<()> {
    let tasks: Vec<_> = notes.map(|note| runtime.spawn(note)).collect();
    for task in tasks {
        runtime.block_on(task).context("a note panicked")??;
    }
    Ok(())
}

/// The benchmark is faster than the database, so it waits for a place.
fn record(ledger: &Ledger, number: u32, requests_per_unit: u32) {
    let place = loop {
        match ledger.place() {
            Some(place) => break place,
            None => std::thread::yield_now(),
        }
    };
    place.record(entry(number, requests_per_unit));
}
