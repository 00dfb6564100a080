//! The judge's tally and its correction, held against arXiv:2511.21140.

#![allow(clippy::unwrap_used, unreachable_pub)]

mod reference;

use farthing_experiment::{
    ExperimentError, Inference, JudgeCalibration, JudgeTally, JudgedShare, PairOutcome, Preference,
    Proportion,
};
use reference::{arm, assert_near, read};
use serde::Deserialize;

#[derive(Deserialize)]
struct Case {
    judged: (u64, u64),
    specificity: (u64, u64),
    sensitivity: (u64, u64),
    confidence: f64,
    value: f64,
    interval: [f64; 2],
}

const FIXED: Inference = Inference::FixedHorizon { units_per_arm: 1 };

fn proportion((successes, trials): (u64, u64)) -> Proportion {
    Proportion { successes, trials }
}

fn calibration(sensitivity: (u64, u64), specificity: (u64, u64)) -> JudgeCalibration {
    JudgeCalibration {
        sensitivity: proportion(sensitivity),
        specificity: proportion(specificity),
    }
}

#[test]
fn the_correction_is_the_papers() {
    for case in read::<Vec<Case>>("judge") {
        let judged = JudgedShare::of_trials(proportion(case.judged)).unwrap();
        let found = calibration(case.sensitivity, case.specificity)
            .correct(&judged, FIXED, case.confidence)
            .unwrap();
        assert_near(found.value, case.value, 1e-9);
        assert_near(found.interval.low, case.interval[0], 1e-6);
        assert_near(found.interval.high, case.interval[1], 1e-6);
    }
}

#[test]
fn clustered_pairs_are_worth_fewer() {
    // 100 units of four pairs that are all alike.
    let alike: Vec<_> = (0..100).map(|n| (f64::from(n % 2) * 4.0, 4.0)).collect();
    let share = arm(&alike).share().unwrap();
    let clustered = JudgedShare::clustered(&share, 400).unwrap();
    let calibration = calibration((90, 100), (85, 100));
    let width = |judged: &JudgedShare| {
        let interval = calibration.correct(judged, FIXED, 0.95).unwrap().interval;
        interval.high - interval.low
    };
    let [as_100, as_400] = [100, 400]
        .map(|trials| width(&JudgedShare::of_trials(proportion((trials / 2, trials))).unwrap()));
    assert_near(width(&clustered), as_100, 0.01 * as_100);
    assert!(as_400 < 0.8 * as_100);
    // Nor are they ever worth more than their number.
    let even: Vec<_> = (0..100)
        .map(|n| (2.0 + f64::from(n % 50 / 49), 4.0))
        .collect();
    let even = JudgedShare::clustered(&arm(&even).share().unwrap(), 400).unwrap();
    assert_near(width(&even), as_400, 0.01 * as_400);
    // Always valid is wider.
    let always = Inference::AlwaysValid { tuned_to: 100 };
    let interval = calibration
        .correct(&clustered, always, 0.95)
        .unwrap()
        .interval;
    assert!(interval.high - interval.low > 1.2 * width(&clustered));
}

#[test]
fn a_judge_like_a_coin_corrects_nothing() {
    let judged = JudgedShare::of_trials(proportion((40, 100))).unwrap();
    let correct = |calibration: JudgeCalibration| calibration.correct(&judged, FIXED, 0.95);
    let useless = Err(ExperimentError::UselessJudge);
    assert_eq!(correct(calibration((50, 100), (50, 100))), useless);
    assert_eq!(correct(calibration((20, 100), (50, 100))), useless);
    let empty = Err(ExperimentError::EmptyArm);
    assert_eq!(correct(calibration((0, 0), (50, 100))), empty);
    let more = Err(ExperimentError::NoShare);
    assert_eq!(correct(calibration((9, 8), (50, 100))), more);
    assert!(
        calibration((9, 10), (9, 10))
            .correct(&judged, FIXED, 1.0)
            .is_err()
    );
    assert!(JudgedShare::of_trials(proportion((0, 0))).is_err());
    // Barely better: anything is possible, and nothing is infinite.
    let barely = correct(calibration((51, 100), (50, 100))).unwrap();
    assert_eq!((barely.interval.low, barely.interval.high), (0.0, 1.0));
}

#[test]
fn an_answer_wins_only_in_both_orders() {
    use Preference::{First, Second, Tie};
    for (baseline_first, candidate_first, outcome) in [
        (First, Second, PairOutcome::Baseline),
        (Second, First, PairOutcome::Candidate),
        (Tie, Tie, PairOutcome::Tie),
        (First, First, PairOutcome::Inconsistent),
        (Second, Second, PairOutcome::Inconsistent),
        (Tie, First, PairOutcome::Inconsistent),
        (Second, Tie, PairOutcome::Inconsistent),
    ] {
        assert_eq!(PairOutcome::of(baseline_first, candidate_first), outcome);
    }
}

#[test]
fn a_tally_counts_and_merges() {
    let mut tally = JudgeTally::default();
    assert!(tally.win_interval(0.95).is_err());
    for (outcome, times) in [
        (PairOutcome::Candidate, 30),
        (PairOutcome::Baseline, 20),
        (PairOutcome::Tie, 10),
        (PairOutcome::Inconsistent, 40),
    ] {
        for _ in 0..times {
            tally.add(outcome);
        }
    }
    let mut twice = tally;
    twice.merge(&tally);
    assert_eq!(twice.pairs(), 200);
    assert_eq!(twice.consistency(), proportion((120, 200)));
    assert_eq!(twice.wins(), proportion((60, 100)));
    // scipy's Wilson for 30 of 50.
    let interval = tally.win_interval(0.95).unwrap();
    assert_near(interval.low, 0.461814, 1e-6);
    assert_near(interval.high, 0.723916, 1e-6);
}
