//! Rows of an experiment.

use std::path::Path;

use farthing_ledger::{
    AssignedArm, Assignment, ChargeBasis, DeviceSeconds, Feedback, Ledger, LedgerConfig,
    LedgerEntry, Location, Outcome, Picoseconds, Role, Routing, VendorCharge,
};

/// 2026-11-24 06:00:00 UTC.
pub(crate) const START_US: i64 = 1_795_500_000_000_000;
pub(crate) const EXPERIMENT: &str = "exp-1";

pub(crate) fn open(path: &Path) -> anyhow::Result<Ledger> {
    let config = LedgerConfig {
        location: Location::Sqlite(path.to_owned()),
        model: "base".to_owned(),
        version: "bench".to_owned(),
        price: Some("3.6".parse()?),
        started_us: START_US,
    };
    let device = || DeviceSeconds {
        window: 86_400.0,
        steps: 40_000.0,
        idle: 46_400.0,
        ..DeviceSeconds::default()
    };
    Ok(Ledger::open(config, device)?)
}

/// The arm of a unit.
fn arm(unit: u32) -> &'static str {
    ["gpt", "ours@ab12cd34"][unit as usize % 2]
}

fn request_id(number: u32) -> String {
    // Spread, as random ids are.
    format!(
        "chatcmpl-{:08x}{number:08x}",
        number.wrapping_mul(2_654_435_761)
    )
}

pub(crate) fn assignment(number: u32, requests_per_unit: u32) -> Assignment {
    let unit = number / requests_per_unit;
    Assignment {
        experiment: EXPERIMENT.to_owned(),
        arm: arm(unit).to_owned(),
        unit: format!("user-{unit:08}"),
        request_id: request_id(number),
        assigned_us: START_US + i64::from(number),
    }
}

pub(crate) fn feedback(number: u32) -> Feedback {
    Feedback {
        request_id: request_id(number),
        metric: "accepted".to_owned(),
        source: "feedback".to_owned(),
        value: Some(f64::from(u8::from(number % 7 < 5))),
        comment: None,
        received_us: START_US,
    }
}

pub(crate) fn entry(number: u32, requests_per_unit: u32) -> LedgerEntry {
    let unit = number / requests_per_unit;
    let is_own = unit % 2 == 1;
    let started_us = START_US + i64::from(number);
    let work = 1 + number % 13 + unit % 5;
    LedgerEntry {
        request_id: request_id(number),
        started_us,
        ended_us: started_us + 900_000,
        api_key: None,
        tenant: None,
        user: Some(format!("tenant-{}", unit % 50)),
        model: "legal".to_owned(),
        adapter: is_own.then(|| "legal".to_owned()),
        adapter_generation: None,
        input_tokens: 512,
        cached_tokens: 128,
        output_tokens: u64::from(20 * work),
        device_time: Picoseconds::new(if is_own { 12_345_678_901 } else { 0 } * i128::from(work)),
        input_time: Picoseconds::default(),
        cached_time: Picoseconds::default(),
        output_time: Picoseconds::default(),
        cost_usd: None,
        queue_seconds: Some(0.0123),
        ttft_seconds: Some(0.1 + f64::from(number % 97) / 100.0),
        itl_p50_seconds: Some(0.031),
        itl_p95_seconds: Some(0.045),
        outcome: match number % 50 {
            0 => Outcome::Error,
            _ => Outcome::Stop,
        },
        status: 200,
        prompt: None,
        routing: Some(Routing {
            route: "legal".to_owned(),
            role: Role::Primary,
            attempt: 1,
            arm: arm(unit).to_owned(),
            assigned: Some(AssignedArm {
                experiment: EXPERIMENT.to_owned(),
                arm: arm(unit).to_owned(),
                unit: format!("user-{unit:08}"),
            }),
        }),
        vendor: (!is_own).then(|| VendorCharge {
            vendor: "openai".to_owned(),
            model: "gpt-5-mini".to_owned(),
            usage_json: None,
            billed_usd: Some(rust_decimal::Decimal::new(i64::from(work) * 12_345, 9)),
            basis: ChargeBasis::Measured,
        }),
    }
}
