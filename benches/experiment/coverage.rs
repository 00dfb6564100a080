//! How often an interval contains the truth.

use farthing_experiment::{
    Arm, BreakEven, Estimate, FixedCost, Inference, JudgeCalibration, JudgedShare, Proportion,
    Sides,
};
use rand::Rng;
use rand::rngs::StdRng;
use rand_distr::{Beta, Distribution};

use crate::population::{Metrics, Population};
use crate::simulation::{Finding, Simulation};

const CONFIDENCE: f64 = 0.95;
const NEAR_NOMINAL: std::ops::RangeInclusive<f64> = 93.0..=97.0;
const FIXED: Inference = Inference::FixedHorizon { units_per_arm: 1 };
const FIXED_COST: f64 = 60.0;

pub(crate) fn measure(simulation: Simulation) -> anyhow::Result<Vec<Finding>> {
    let mut findings = Vec::new();
    of_break_even(simulation, &mut findings)?;
    of_judges(simulation, &mut findings)?;
    Ok(findings)
}

fn of_break_even(simulation: Simulation, findings: &mut Vec<Finding>) -> anyhow::Result<()> {
    for (users, vendor_cost, name) in [
        (400, 0.004, "clear gain, 400 users"),
        (400, 0.0018, "small gain, 400 users"),
        (400, 0.00155, "gain within its error, 400 users"),
        (150, 0.004, "clear gain, 150 users"),
    ] {
        let own = Population {
            cost: 0.001,
            accepted: 0.65,
        };
        let vendor = Population {
            cost: vendor_cost,
            accepted: 0.75,
        };
        let truth = FIXED_COST / (vendor.cost_per_accepted() - own.cost_per_accepted());
        let outcomes = simulation.run(4000, |random| {
            break_even_covers(own, vendor, users, truth, random)
        })?;
        let of = |which: usize| outcomes.iter().map(|it| it[which]).collect::<Vec<_>>();
        findings.push(
            Finding::share(format!("break-even volume, {name}"), &of(0)).within(NEAR_NOMINAL),
        );
        findings.push(Finding::share(
            format!("break-even volume, {name}, by the delta method"),
            &of(1),
        ));
    }
    Ok(())
}

/// Whether Fieller's interval and that of the delta method contain the true volume.
fn break_even_covers(
    own: Population,
    vendor: Population,
    users: u32,
    truth: f64,
    random: &mut StdRng,
) -> anyhow::Result<[bool; 2]> {
    let own = Metrics::collect(&own, users, random)?.cost.ratio()?;
    let vendor = Metrics::collect(&vendor, users, random)?.cost.ratio()?;
    let fixed = FixedCost {
        usd_per_day: FIXED_COST,
        standard_error: 0.0,
        capacity: None,
    };
    let found = BreakEven::find(fixed, &own, &vendor, FIXED, CONFIDENCE)?;
    let covers =
        found.low.is_some_and(|low| low <= truth) && found.high.is_none_or(|high| truth <= high);
    let gain = Estimate::difference(&own, &vendor)?;
    let volume = FIXED_COST / gain.value;
    let error = volume * gain.standard_error / gain.value.abs();
    let half = error * FIXED.multiplier(gain.size, CONFIDENCE, Sides::Two)?;
    Ok([covers, (volume - truth).abs() <= half])
}

/// A judge, the truth, and the sizes of the samples.
#[derive(Clone, Copy)]
struct Judge {
    sensitivity: f64,
    specificity: f64,
    truth: f64,
    pairs: u64,
    labelled: u64,
}

fn of_judges(simulation: Simulation, findings: &mut Vec<Finding>) -> anyhow::Result<()> {
    for (sensitivity, specificity, truth, pairs, labelled) in [
        (0.9, 0.8, 0.55, 500, 100),
        (0.9, 0.8, 0.7, 500, 200),
        (0.8, 0.7, 0.4, 1000, 200),
        (0.85, 0.9, 0.8, 200, 100),
        (0.75, 0.75, 0.6, 300, 400),
    ] {
        let judge = Judge {
            sensitivity,
            specificity,
            truth,
            pairs,
            labelled,
        };
        let name = format!(
            "judge {sensitivity}/{specificity}, truth {truth}, {pairs} pairs, {labelled} labelled"
        );
        let outcomes = simulation.run(8000, |random| judge.covers(random))?;
        let of = |which: usize| outcomes.iter().map(|it| it[which]).collect::<Vec<_>>();
        findings.push(Finding::share(name.clone(), &of(0)).within(NEAR_NOMINAL));
        findings.push(Finding::share(format!("{name}, uncorrected"), &of(1)));
    }
    let clustered = simulation.run(4000, clustered_judge_covers)?;
    findings
        .push(Finding::share("judge, pairs clustered by user", &clustered).within(NEAR_NOMINAL));
    Ok(())
}

fn binomial(trials: u64, share: f64, random: &mut StdRng) -> Proportion {
    Proportion {
        successes: (0..trials).filter(|_| random.random_bool(share)).count() as u64,
        trials,
    }
}

impl Judge {
    /// The labelled sample: half of it has true wins.
    fn calibration(&self, random: &mut StdRng) -> JudgeCalibration {
        JudgeCalibration {
            sensitivity: binomial(self.labelled / 2, self.sensitivity, random),
            specificity: binomial(self.labelled / 2, self.specificity, random),
        }
    }

    fn judged_win(&self, is_win: bool, random: &mut StdRng) -> bool {
        random.random_bool(if is_win {
            self.sensitivity
        } else {
            1.0 - self.specificity
        })
    }

    /// Whether the corrected interval and the judge's own contain the truth.
    fn covers(&self, random: &mut StdRng) -> anyhow::Result<[bool; 2]> {
        let calibration = self.calibration(random);
        let mut judged = Proportion {
            successes: 0,
            trials: self.pairs,
        };
        for _ in 0..self.pairs {
            let is_win = random.random_bool(self.truth);
            judged.successes += u64::from(self.judged_win(is_win, random));
        }
        let share = JudgedShare::of_trials(judged)?;
        let found = calibration.correct(&share, FIXED, CONFIDENCE)?.interval;
        let naive = judged.interval(CONFIDENCE)?;
        let contains = |low: f64, high: f64| (low..=high).contains(&self.truth);
        Ok([
            contains(found.low, found.high),
            contains(naive.low, naive.high),
        ])
    }
}

/// 100 users with 1 to 9 pairs each, which resemble each other.
fn clustered_judge_covers(random: &mut StdRng) -> anyhow::Result<bool> {
    let judge = Judge {
        sensitivity: 0.9,
        specificity: 0.8,
        truth: 0.6,
        pairs: 0,
        labelled: 200,
    };
    let calibration = judge.calibration(random);
    let users = Beta::new(judge.truth * 2.0, (1.0 - judge.truth) * 2.0)?;
    let mut arm = Arm::new();
    let mut pairs = 0;
    for user in 0..100 {
        let share = users.sample(random);
        for _ in 0..random.random_range(1..10) {
            let is_win = random.random_bool(share);
            let judged = judge.judged_win(is_win, random);
            arm.add(user, f64::from(u8::from(judged)), 1.0)?;
            pairs += 1;
        }
    }
    let share = JudgedShare::clustered(&arm.share()?, pairs)?;
    let found = calibration.correct(&share, FIXED, CONFIDENCE)?.interval;
    Ok((found.low..=found.high).contains(&judge.truth))
}
