//! Rows and ledgers to test with.

use std::sync::{Arc, Mutex};

use farthing_ledger::{
    DeviceSeconds, Ledger, LedgerConfig, LedgerEntry, LedgerReader, Outcome, Picoseconds,
};

use crate::databases::location;

/// 2026-11-24 06:00:00 UTC.
pub(crate) const SIX: i64 = 1_795_500_000;
pub(crate) const MICROS: i64 = 1_000_000;

/// A request of 10 tokens in, 4 of them cached, and 3 out, that took 0.36 s of the device; it
/// ended `after` seconds past six.
pub(crate) fn entry(after: f64) -> LedgerEntry {
    let ended_us = SIX * MICROS + (after * 1e6) as i64;
    let device = |seconds| Picoseconds::from_seconds(seconds);
    LedgerEntry {
        request_id: "chatcmpl-1".to_owned(),
        started_us: ended_us - 500_000,
        ended_us,
        api_key: None,
        tenant: None,
        user: None,
        model: "base".to_owned(),
        adapter: None,
        adapter_generation: None,
        input_tokens: 10,
        cached_tokens: 4,
        output_tokens: 3,
        device_time: device(0.36),
        input_time: device(0.24),
        cached_time: device(0.02),
        output_time: device(0.1),
        cost_usd: Some("0.00001".parse().unwrap()),
        queue_seconds: Some(0.001),
        ttft_seconds: Some(0.25),
        itl_p50_seconds: Some(0.05),
        itl_p95_seconds: Some(0.06),
        outcome: Outcome::Stop,
        status: 200,
        prompt: None,
        routing: None,
        vendor: None,
    }
}

/// The engine's clock, moved by hand.
#[derive(Clone, Default)]
pub(crate) struct Clock(Arc<Mutex<DeviceSeconds>>);

impl Clock {
    pub(crate) fn set(&self, seconds: DeviceSeconds) {
        *self.0.lock().unwrap() = seconds;
    }
}

/// A ledger of a process that started at six, at 0.10 USD an hour.
pub(crate) fn open(database: &str, clock: &Clock) -> Ledger {
    open_at(database, clock, SIX, Some("0.10"))
}

pub(crate) fn open_at(database: &str, clock: &Clock, start: i64, price: Option<&str>) -> Ledger {
    let config = LedgerConfig {
        location: location(database),
        model: "base".to_owned(),
        version: "test".to_owned(),
        price: price.map(|price| price.parse().unwrap()),
        started_us: start * MICROS,
    };
    let clock = clock.clone();
    Ledger::open(config, move || *clock.0.lock().unwrap()).unwrap()
}

pub(crate) fn record(ledger: &Ledger, entry: LedgerEntry) {
    ledger.place().unwrap().record(entry);
}

pub(crate) fn close(ledger: &Ledger) {
    ledger.close(std::time::Duration::from_secs(30)).unwrap();
}

pub(crate) fn reader(database: &str) -> LedgerReader {
    LedgerReader::open(&location(database)).unwrap()
}
