//! How long the statistics of a report over a million rows take.

use std::time::Instant;

use farthing_experiment::{Arm, ClusteredBootstrap, Estimate, Inference, UnitValues};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::simulation::{Finding, Simulation};

const ROWS: u64 = 1_000_000;
/// A report has three seconds, most of them for reading the ledger.
const SECONDS: std::ops::RangeInclusive<f64> = 0.0..=3.0;

struct Row {
    unit: u64,
    arm: usize,
    usd: f64,
    seconds: f64,
    accepted: bool,
}

pub(crate) fn measure(_simulation: Simulation) -> anyhow::Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for (units, name) in [(ROWS / 20, "50,000 users"), (ROWS, "a unit for each row")] {
        let mut random = StdRng::seed_from_u64(1);
        let rows: Vec<Row> = (0..ROWS)
            .map(|row| {
                let unit = if units == ROWS {
                    row
                } else {
                    random.random_range(0..units)
                };
                Row {
                    unit,
                    arm: (unit % 2) as usize,
                    usd: random.random_range(0.001..0.01),
                    seconds: random.random_range(0.1..2.0),
                    accepted: random.random_bool(0.7),
                }
            })
            .collect();
        let started = Instant::now();
        report(&rows)?;
        let seconds = started.elapsed().as_secs_f64();
        let what = format!("cost, quality and p95 of a million rows, {name}");
        findings.push(Finding::seconds(what, seconds).within(SECONDS));
    }
    Ok(findings)
}

fn report(rows: &[Row]) -> anyhow::Result<()> {
    let mut costs = [Arm::new(), Arm::new()];
    let mut qualities = [Arm::new(), Arm::new()];
    let mut seconds = [UnitValues::new(), UnitValues::new()];
    for row in rows {
        let accepted = f64::from(u8::from(row.accepted));
        costs[row.arm].add(row.unit, row.usd, accepted)?;
        qualities[row.arm].add(row.unit, accepted, 1.0)?;
        seconds[row.arm].add(row.unit, row.seconds)?;
    }
    let inference = Inference::AlwaysValid { tuned_to: 10_000 };
    let cost = Estimate::relative_difference(&costs[0].ratio()?, &costs[1].ratio()?)?;
    let quality = Estimate::difference(&qualities[0].share()?, &qualities[1].share()?)?;
    let bootstrap = ClusteredBootstrap {
        resamples: 1000,
        seed: 1,
    };
    let p95 = bootstrap.quantile_difference(&seconds[0], &seconds[1], 0.95, 0.95)?;
    for figure in [cost, quality, p95.difference] {
        std::hint::black_box(figure.interval(inference, 0.95)?);
    }
    Ok(())
}
