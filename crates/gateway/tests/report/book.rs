//! A ledger to test with.

use std::sync::{Arc, Mutex};

use farthing_gateway::{ExperimentSpec, Report, Split};
use farthing_ledger::{
    AssignedArm, Assignment, ChargeBasis, DecidedVerdict, DeviceSeconds, Feedback, Ledger,
    LedgerConfig, LedgerEntry, LedgerReader, Location, Outcome, Picoseconds, Role, Routing,
    VendorCharge,
};
use serde_json::{Value, json};

/// 2026-11-24 06:00:00 UTC, when every experiment starts.
pub(crate) const SIX: i64 = 1_795_500_000;
pub(crate) const MICROS: i64 = 1_000_000;
/// An hour later, when reports are computed.
pub(crate) const SEVEN_US: i64 = (SIX + 3600) * MICROS;

pub(crate) struct Book {
    directory: tempfile::TempDir,
    ledger: Option<Ledger>,
    runtime: tokio::runtime::Runtime,
    device: Arc<Mutex<DeviceSeconds>>,
}

/// An attempt, with what tests change.
#[derive(Clone)]
pub(crate) struct Attempt {
    pub served: &'static str,
    pub role: Role,
    pub outcome: Outcome,
    pub output_tokens: u64,
    pub device_ps: i128,
    pub ttft_seconds: Option<f64>,
    pub billed: Option<(Option<&'static str>, ChargeBasis)>,
}

impl Attempt {
    /// A second of our own device.
    pub(crate) fn own() -> Self {
        Self {
            served: "ours",
            role: Role::Primary,
            outcome: Outcome::Stop,
            output_tokens: 20,
            device_ps: 1_000_000_000_000,
            ttft_seconds: Some(0.2),
            billed: None,
        }
    }

    /// A vendor's answer.
    pub(crate) fn vendor(usd: &'static str) -> Self {
        Self {
            served: "gpt",
            device_ps: 0,
            billed: Some((Some(usd), ChargeBasis::Measured)),
            ..Self::own()
        }
    }
}

impl Book {
    /// A machine at `price` an hour, if it has one.
    pub(crate) fn new(price: Option<&str>) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let device = Arc::new(Mutex::new(DeviceSeconds::default()));
        let config = LedgerConfig {
            location: Location::Sqlite(directory.path().join("ledger.sqlite3")),
            model: "base".to_owned(),
            version: "test".to_owned(),
            price: price.map(|price| price.parse().unwrap()),
            started_us: SIX * MICROS,
        };
        let clock = device.clone();
        let ledger = Ledger::open(config, move || *clock.lock().unwrap()).unwrap();
        Self {
            directory,
            ledger: Some(ledger),
            runtime: tokio::runtime::Runtime::new().unwrap(),
            device,
        }
    }

    fn ledger(&self) -> &Ledger {
        self.ledger.as_ref().unwrap()
    }

    /// A request, `after` seconds past six.
    pub(crate) fn request(&self, arm: &str, unit: &str, id: &str, after: i64, rows: &[Attempt]) {
        self.assign(arm, unit, id, after);
        for (number, row) in rows.iter().enumerate() {
            let entry = entry(arm, unit, id, after, number as u32 + 1, row);
            self.ledger().place().unwrap().record(entry);
        }
    }

    pub(crate) fn assign(&self, arm: &str, unit: &str, id: &str, after: i64) {
        let assigned = self.ledger().assign(Assignment {
            experiment: "exp-1".to_owned(),
            arm: arm.to_owned(),
            unit: unit.to_owned(),
            request_id: id.to_owned(),
            assigned_us: (SIX + after) * MICROS,
        });
        self.runtime.block_on(assigned).unwrap();
    }

    pub(crate) fn record(&self, entry: LedgerEntry) {
        self.ledger().place().unwrap().record(entry);
    }

    pub(crate) fn rate(&self, id: &str, source: &str, value: f64) {
        let said = self.ledger().record_feedback(Feedback {
            request_id: id.to_owned(),
            metric: "accepted".to_owned(),
            source: source.to_owned(),
            value: Some(value),
            comment: None,
            received_us: SIX * MICROS,
        });
        self.runtime.block_on(said).unwrap();
    }

    pub(crate) fn decide(&self, verdict: &DecidedVerdict) {
        let decided = self.ledger().decide(verdict.clone());
        self.runtime.block_on(decided).unwrap();
    }

    /// The device time of the hour.
    pub(crate) fn device(&self, steps: f64) {
        *self.device.lock().unwrap() = DeviceSeconds {
            window: 3600.0,
            steps,
            idle: 3600.0 - steps,
            ..DeviceSeconds::default()
        };
    }

    /// Writes all rows.
    pub(crate) fn close(&mut self) {
        if let Some(ledger) = self.ledger.take() {
            ledger.close(std::time::Duration::from_secs(30)).unwrap();
        }
    }

    pub(crate) fn report(&mut self, spec: &ExperimentSpec) -> Report {
        self.report_at(spec, [1.0, 1.0], SIX * MICROS)
    }

    pub(crate) fn report_at(
        &mut self,
        spec: &ExperimentSpec,
        weights: [f64; 2],
        since_us: i64,
    ) -> Report {
        self.close();
        let path = self.directory.path().join("ledger.sqlite3");
        let mut reader = LedgerReader::open(&Location::Sqlite(path)).unwrap();
        let split = Split { weights, since_us };
        Report::compute(&mut reader, spec, &split, SEVEN_US).unwrap()
    }

    /// Opens the ledger again, as the next process does.
    pub(crate) fn reopen(&mut self) {
        self.close();
        let config = LedgerConfig {
            location: Location::Sqlite(self.directory.path().join("ledger.sqlite3")),
            model: "base".to_owned(),
            version: "test".to_owned(),
            price: None,
            started_us: SEVEN_US,
        };
        self.ledger = Some(Ledger::open(config, DeviceSeconds::default).unwrap());
    }
}

pub(crate) fn entry(
    arm: &str,
    unit: &str,
    id: &str,
    after: i64,
    attempt: u32,
    row: &Attempt,
) -> LedgerEntry {
    let started_us = (SIX + after) * MICROS;
    LedgerEntry {
        request_id: id.to_owned(),
        started_us,
        ended_us: started_us + 500_000 + i64::from(attempt),
        api_key: None,
        tenant: None,
        user: Some(unit.to_owned()),
        model: "legal".to_owned(),
        adapter: None,
        adapter_generation: None,
        input_tokens: 100,
        cached_tokens: 0,
        output_tokens: row.output_tokens,
        device_time: Picoseconds::new(row.device_ps),
        input_time: Picoseconds::default(),
        cached_time: Picoseconds::default(),
        output_time: Picoseconds::default(),
        cost_usd: None,
        queue_seconds: None,
        ttft_seconds: row.ttft_seconds,
        itl_p50_seconds: None,
        itl_p95_seconds: None,
        outcome: row.outcome,
        status: 200,
        prompt: None,
        routing: Some(Routing {
            route: "legal".to_owned(),
            role: row.role,
            attempt,
            arm: row.served.to_owned(),
            assigned: Some(AssignedArm {
                experiment: "exp-1".to_owned(),
                arm: arm.to_owned(),
                unit: unit.to_owned(),
            }),
        }),
        vendor: row.billed.map(|(usd, basis)| VendorCharge {
            vendor: "openai".to_owned(),
            model: "gpt-5-mini".to_owned(),
            usage_json: None,
            billed_usd: usd.map(|usd| usd.parse().unwrap()),
            basis,
        }),
    }
}

/// A specification, with `changes`.
pub(crate) fn spec(changes: Value) -> ExperimentSpec {
    let mut spec = json!({
        "id": "exp-1", "route": "legal", "baseline": "gpt", "candidate": "ours", "unit": "user",
        "salt": "s", "margin": 0.1, "inference": {"always_valid": {"tuned_to": 400}},
        "started": "2026-11-24T06:00:00Z",
        "quality": {"metric": "accepted", "from": "feedback", "accept_at_least": 1.0},
    });
    for (key, value) in changes.as_object().unwrap() {
        spec[key] = value.clone();
    }
    serde_json::from_value(spec).unwrap()
}

pub(crate) fn json_of(report: &Report) -> Value {
    serde_json::from_str(&serde_json::to_string(report).unwrap()).unwrap()
}
