//! Ratios and their differences, held against gbstats and statsmodels.

#![allow(clippy::unwrap_used, unreachable_pub)]

mod reference;

use farthing_experiment::{Arm, ArmPair, Estimate, ExperimentError, Inference, Sides};
use reference::{arm, assert_close, assert_near, read};
use serde::Deserialize;

#[derive(Deserialize)]
struct Case {
    baseline: Vec<(f64, f64)>,
    candidate: Vec<(f64, f64)>,
    ratios: [f64; 2],
    errors: [f64; 2],
    regression: Regression,
    tests: Vec<Test>,
}

#[derive(Deserialize)]
struct Regression {
    value: f64,
    uncorrected_error: f64,
}

#[derive(Deserialize)]
struct Test {
    kind: String,
    confidence: f64,
    tuned_to: Option<u64>,
    value: f64,
    interval: [f64; 2],
    p: Option<f64>,
}

#[test]
fn ratios_and_their_errors_are_gbstats() {
    for case in read::<Vec<Case>>("arms") {
        for (rows, (ratio, error)) in [&case.baseline, &case.candidate]
            .into_iter()
            .zip(case.ratios.into_iter().zip(case.errors))
        {
            let found = arm(rows).ratio().unwrap();
            assert_close(found.value, ratio);
            assert_close(found.standard_error, error);
            assert_eq!(found.size.units, rows.len() as u64);
        }
    }
}

#[test]
fn a_difference_is_a_regression_with_clustered_errors() {
    for case in read::<Vec<Case>>("arms") {
        let [a, b] = [&case.baseline, &case.candidate].map(|rows| arm(rows).ratio().unwrap());
        let difference = Estimate::difference(&a, &b).unwrap();
        assert_near(difference.value, case.regression.value, 1e-6 * a.value);
        // The regression has no n/(n-1) for each arm.
        let uncorrected = |arm: Estimate| {
            let units = arm.size.units as f64;
            arm.standard_error * ((units - 1.0) / units).sqrt()
        };
        assert_close(
            uncorrected(a).hypot(uncorrected(b)),
            case.regression.uncorrected_error,
        );
    }
}

#[test]
fn intervals_and_p_values_are_gbstats_fixed_and_sequential() {
    for case in read::<Vec<Case>>("arms") {
        let [a, b] = [&case.baseline, &case.candidate].map(|rows| arm(rows).ratio().unwrap());
        for test in case.tests {
            let difference = if test.kind == "relative" {
                Estimate::relative_difference(&a, &b).unwrap()
            } else {
                Estimate::difference(&a, &b).unwrap()
            };
            let inference = match test.tuned_to {
                Some(tuned_to) => Inference::AlwaysValid { tuned_to },
                None => Inference::FixedHorizon { units_per_arm: 40 },
            };
            let width = test.interval[1] - test.interval[0];
            assert_near(difference.value, test.value, 1e-6 * width);
            let interval = difference.interval(inference, test.confidence).unwrap();
            assert_near(interval.low, test.interval[0], 1e-6 * width);
            assert_near(interval.high, test.interval[1], 1e-6 * width);
            if let Some(p) = test.p {
                assert_near(difference.p_value(inference, 0.0).unwrap(), p, 1e-9);
            }
        }
    }
}

#[derive(Deserialize)]
struct Paired {
    baseline: Vec<(f64, f64)>,
    candidate: Vec<(f64, f64)>,
    difference: f64,
    error: f64,
    relative_difference: f64,
    relative_error: f64,
}

#[test]
fn a_pair_is_a_regression_clustered_on_the_common_unit() {
    let case: Paired = read("paired");
    let (baseline, candidate) = (arm(&case.baseline), arm(&case.candidate));
    let pair = ArmPair {
        baseline: &baseline,
        candidate: &candidate,
    };
    let found = pair.difference().unwrap();
    assert_close(found.value, case.difference);
    assert_close(found.standard_error, case.error);
    let found = pair.relative_difference().unwrap();
    assert_close(found.value, case.relative_difference);
    assert_close(found.standard_error, case.relative_error);
    assert_eq!(found.size.units, 80);
    // The common part cancels.
    let [a, b] = [&baseline, &candidate].map(|arm| arm.ratio().unwrap());
    let apart = Estimate::relative_difference(&a, &b).unwrap();
    assert!(found.standard_error < 0.5 * apart.standard_error);
}

#[test]
fn a_pair_in_which_all_agree_has_an_error() {
    let rows: Vec<_> = (0..100).map(|unit| (f64::from(unit % 2), 1.0)).collect();
    let (baseline, candidate) = (arm(&rows), arm(&rows));
    let pair = ArmPair {
        baseline: &baseline,
        candidate: &candidate,
    };
    assert_eq!(pair.difference().unwrap().standard_error, 0.0);
    let found = pair.share_difference().unwrap();
    assert_close(found.standard_error, 101.0_f64.sqrt() / 102.0_f64.powf(1.5));
    let dollars = arm(&[(2.0, 1.0); 100]);
    let pair = ArmPair {
        baseline: &baseline,
        candidate: &dollars,
    };
    assert_eq!(pair.share_difference(), Err(ExperimentError::NoShare));
}

#[test]
fn parts_merge_to_the_whole_to_the_last_bit() {
    let case = read::<Vec<Case>>("arms").remove(0);
    let whole = arm(&case.baseline);
    let (mut left, mut right) = (Arm::new(), Arm::new());
    for (unit, (numerator, denominator)) in case.baseline.iter().enumerate().rev() {
        let part = if unit % 3 == 0 { &mut left } else { &mut right };
        part.add(unit, *numerator, *denominator).unwrap();
    }
    right.merge(left).unwrap();
    assert_eq!(right, whole);
    assert_eq!(right.ratio(), whole.ratio());
}

#[test]
fn rows_of_a_unit_are_one_unit() {
    let mut rows = Arm::new();
    let mut sums = Arm::new();
    for unit in ["anna", "ben", "eva"] {
        let size = unit.len() as f64;
        for row in 0..unit.len() {
            rows.add(unit, row as f64, 1.0).unwrap();
        }
        sums.add(unit, size * (size - 1.0) / 2.0, size).unwrap();
    }
    assert_eq!(rows.units(), 3);
    assert_eq!(rows, sums);
    let (_, anna) = rows.sums().next().unwrap();
    assert_eq!((anna.numerator, anna.denominator), (6.0, 4.0));
}

#[test]
fn bounds_and_intervals_fit_together() {
    let case = read::<Vec<Case>>("arms").remove(0);
    let ratio = arm(&case.baseline).ratio().unwrap();
    let fixed = Inference::FixedHorizon { units_per_arm: 40 };
    let interval = ratio.interval(fixed, 0.9).unwrap();
    assert_close(ratio.lower_bound(fixed, 0.95).unwrap(), interval.low);
    assert_close(ratio.upper_bound(fixed, 0.95).unwrap(), interval.high);
    // Looking at any time costs width; one side costs less than two.
    let always = Inference::AlwaysValid { tuned_to: 40 };
    let multiplier =
        |inference: Inference, sides| inference.multiplier(ratio.size, 0.95, sides).unwrap();
    assert!(multiplier(always, Sides::Two) > multiplier(always, Sides::One));
    assert!(multiplier(always, Sides::One) > multiplier(fixed, Sides::One));
}

#[test]
fn a_share_in_which_all_agree_has_an_error() {
    // As if one unit more had been the other way: p (1 - p) / n at p = 1/1002, n = 1002.
    let all = arm(&[(1.0, 1.0); 1000]).share().unwrap();
    assert_close(all.standard_error, (1001.0_f64 / 1002.0).sqrt() / 1002.0);
    assert_eq!(all.value, 1.0);
    let none = arm(&[(0.0, 3.0); 1000]).share().unwrap();
    assert_eq!(none.value, 0.0);
    assert_eq!(none.standard_error, all.standard_error);
    // A share that varies keeps its own.
    let rows: Vec<_> = (0..1000)
        .map(|unit| (f64::from(unit % 4).min(1.0), 1.0))
        .collect();
    let some = arm(&rows);
    assert_eq!(some.share(), some.ratio());
}

#[test]
fn what_is_no_arm_is_refused() {
    let rows = |rows: &[(f64, f64)]| arm(rows).ratio().unwrap_err();
    assert_eq!(rows(&[]), ExperimentError::EmptyArm);
    let one = ExperimentError::TooFewUnits { units: 1, least: 2 };
    assert_eq!(rows(&[(1.0, 1.0)]), one);
    assert_eq!(
        rows(&[(1.0, 0.0), (2.0, 0.0)]),
        ExperimentError::ZeroDenominator
    );
    assert_eq!(
        rows(&[(1e308, 1.0), (1e308, 1.0)]),
        ExperimentError::NotFinite
    );
    assert_eq!(
        arm(&[(2.0, 1.0), (0.0, 1.0)]).share().unwrap_err(),
        ExperimentError::NoShare
    );
    let mut arm = Arm::new();
    arm.add(1, 1.0, 1.0).unwrap();
    for bad in [f64::NAN, f64::INFINITY, f64::MAX] {
        if bad == f64::MAX {
            arm.add(2, bad, 1.0).unwrap();
        }
        let before = arm.clone();
        assert_eq!(arm.add(2, bad, 1.0), Err(ExperimentError::NotFinite));
        assert_eq!(arm, before);
    }
}

#[test]
fn without_variance_there_is_a_figure_but_no_interval() {
    // A tenth has no exact float, and sums of it are off by more than a bit.
    let rows: Vec<_> = (1..60)
        .map(|n| ((0..n).map(|_| 0.1).sum(), f64::from(n)))
        .collect();
    let same = arm(&rows).ratio().unwrap();
    assert_close(same.value, 0.1);
    assert_eq!(same.standard_error, 0.0);
    for inference in [
        Inference::AlwaysValid { tuned_to: 100 },
        Inference::FixedHorizon { units_per_arm: 50 },
    ] {
        let none = Err(ExperimentError::ZeroVariance);
        assert_eq!(same.lower_bound(inference, 0.95), none);
        assert_eq!(same.p_value(inference, 0.0), none);
    }
}

#[test]
fn a_baseline_near_zero_has_no_relative_difference() {
    let zero = arm(&[(0.0, 1.0); 50]).ratio().unwrap();
    let rows: Vec<_> = (0..50).map(|n| (f64::from(n - 20), 1.0)).collect();
    let near = arm(&rows).ratio().unwrap();
    let far = arm(&[(8.0, 1.0), (9.0, 1.0), (8.5, 1.0)]).ratio().unwrap();
    for base in [zero, near] {
        let found = Estimate::relative_difference(&base, &far);
        assert_eq!(found, Err(ExperimentError::ZeroBaseline));
    }
    assert!(Estimate::relative_difference(&far, &zero).is_ok());
}

#[test]
fn always_valid_intervals_need_thirty_units_in_each_arm() {
    let rows: Vec<_> = (0..60).map(|n| (f64::from(n), 1.0)).collect();
    let (many, few) = (
        arm(&rows).ratio().unwrap(),
        arm(&rows[..29]).ratio().unwrap(),
    );
    let always = Inference::AlwaysValid { tuned_to: 100 };
    let difference = Estimate::difference(&many, &few).unwrap();
    let too_few = ExperimentError::TooFewUnits {
        units: 29,
        least: 30,
    };
    assert_eq!(difference.interval(always, 0.95), Err(too_few));
    let fixed = Inference::FixedHorizon { units_per_arm: 29 };
    assert!(difference.interval(fixed, 0.95).is_ok());
    for confidence in [0.0, 1.0, f64::NAN, -1.0] {
        assert!(many.interval(always, confidence).is_err());
        assert!(many.interval(fixed, confidence).is_err());
    }
    let untuned = Inference::AlwaysValid { tuned_to: 0 };
    assert!(many.interval(untuned, 0.95).is_err());
}
