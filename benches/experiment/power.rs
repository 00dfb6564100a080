//! Whether a plan keeps what it promises.

use farthing_experiment::{Arm, Estimate, Inference, Looks, Planner, UnitSpread};
use rand::Rng;
use rand::rngs::StdRng;

use crate::population::{Metrics, Population};
use crate::simulation::{Finding, Simulation};

const POWER: f64 = 0.8;
const CONFIDENCE: f64 = 0.95;
const NEAR: std::ops::RangeInclusive<f64> = 77.0..=83.0;
const BASELINE: Population = Population {
    cost: 0.002,
    accepted: 0.7,
};

fn planner(looks: Looks) -> Planner {
    Planner {
        power: POWER,
        confidence: CONFIDENCE,
        looks,
        ratio: 1.0,
    }
}

pub(crate) fn measure(simulation: Simulation) -> anyhow::Result<Vec<Finding>> {
    let mut findings = Vec::new();
    of_proportions(simulation, &mut findings)?;
    of_costs(simulation, &mut findings)?;
    of_non_inferiority(simulation, &mut findings)?;
    Ok(findings)
}

fn of_proportions(simulation: Simulation, findings: &mut Vec<Finding>) -> anyhow::Result<()> {
    let shares = [0.70, 0.75];
    let spreads = [
        UnitSpread::of_proportion(shares[0])?,
        UnitSpread::of_proportion(shares[1])?,
    ];
    for (looks, name) in [
        (Looks::Once, "fixed"),
        (Looks::Any, "always valid, last look"),
    ] {
        let units = planner(looks)
            .for_difference(spreads[0], spreads[1])?
            .baseline;
        let shown = simulation.run(3000, |random| {
            let arm = |share: f64, random: &mut StdRng| {
                let mut arm = Arm::new();
                for unit in 0..units {
                    arm.add(unit, f64::from(u8::from(random.random_bool(share))), 1.0)?;
                }
                arm.share()
            };
            let [a, b] = [arm(shares[0], random)?, arm(shares[1], random)?];
            let interval =
                Estimate::difference(&a, &b)?.interval(inference(looks, units), CONFIDENCE)?;
            Ok(interval.low > 0.0)
        })?;
        let what = format!("70 % against 75 %, {name}: {units} an arm");
        findings.push(Finding::share(what, &shown).within(NEAR));
    }
    Ok(())
}

const fn inference(looks: Looks, units: u64) -> Inference {
    match looks {
        Looks::Once => Inference::FixedHorizon {
            units_per_arm: units,
        },
        Looks::Any => Inference::AlwaysValid {
            tuned_to: 2 * units,
        },
    }
}

/// A past sample of users, from which the plan takes its variance.
fn past() -> anyhow::Result<Metrics> {
    use rand::SeedableRng;
    Metrics::collect(&BASELINE, 50_000, &mut StdRng::seed_from_u64(99))
}

fn of_costs(simulation: Simulation, findings: &mut Vec<Finding>) -> anyhow::Result<()> {
    let effect = -0.15;
    let candidate = Population {
        cost: BASELINE.cost * (1.0 + effect),
        ..BASELINE
    };
    let spread = UnitSpread::of(&past()?.cost.ratio()?)?;
    let plan = planner(Looks::Once).for_relative_difference(spread, effect)?;
    let users = u32::try_from(plan.baseline)?;
    let shown = simulation.run(3000, |random| {
        let a = Metrics::collect(&BASELINE, users, random)?.cost.ratio()?;
        let b = Metrics::collect(&candidate, users, random)?.cost.ratio()?;
        let difference = Estimate::relative_difference(&a, &b)?;
        let interval = difference.interval(inference(Looks::Once, plan.baseline), CONFIDENCE)?;
        Ok(interval.high < 0.0)
    })?;
    let what = format!("cost per accepted answer 15 % lower: {users} users an arm");
    findings.push(Finding::share(what, &shown).within(NEAR));
    Ok(())
}

fn of_non_inferiority(simulation: Simulation, findings: &mut Vec<Finding>) -> anyhow::Result<()> {
    let margin = 0.05;
    let spread = UnitSpread::of(&past()?.quality.share()?)?;
    let plan = planner(Looks::Once).for_non_inferiority(spread, spread, margin)?;
    let users = u32::try_from(plan.baseline)?;
    let shown = simulation.run(3000, |random| {
        let a = Metrics::collect(&BASELINE, users, random)?
            .quality
            .share()?;
        let b = Metrics::collect(&BASELINE, users, random)?
            .quality
            .share()?;
        let difference = Estimate::difference(&a, &b)?;
        let interval = difference.interval(inference(Looks::Once, plan.baseline), CONFIDENCE)?;
        Ok(interval.low > -margin)
    })?;
    let what = format!("non-inferior by 5 points, if equal: {users} users an arm");
    findings.push(Finding::share(what, &shown).within(NEAR));
    Ok(())
}
