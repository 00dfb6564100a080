//! From which volume the own model is cheaper, held against root finding by scipy.

#![allow(clippy::unwrap_used, unreachable_pub)]

mod reference;

use farthing_experiment::{
    BreakEven, CheaperSide, Estimate, ExperimentError, FixedCost, Inference, SampleSize,
};
use reference::{assert_close, assert_near, read};
use serde::Deserialize;

#[derive(Deserialize)]
struct Case {
    units: u64,
    fixed: f64,
    fixed_error: f64,
    gain: f64,
    gain_error: f64,
    low: Option<f64>,
    high: Option<f64>,
}

const FIXED: Inference = Inference::FixedHorizon { units_per_arm: 1 };

fn estimate(value: f64, standard_error: f64, units: u64) -> Estimate {
    Estimate {
        value,
        standard_error,
        size: SampleSize::of_arm(units),
    }
}

fn fixed(usd_per_day: f64, standard_error: f64) -> FixedCost {
    FixedCost {
        usd_per_day,
        standard_error,
        capacity: None,
    }
}

/// Both sides have half of the variance.
fn sides(gain: f64, error: f64, units: u64) -> [Estimate; 2] {
    let error = error / 2.0_f64.sqrt();
    [
        estimate(0.0001, error, units),
        estimate(0.0001 + gain, error, units),
    ]
}

fn find(cost: FixedCost, [own, vendor]: [Estimate; 2]) -> Result<BreakEven, ExperimentError> {
    BreakEven::find(cost, &own, &vendor, FIXED, 0.95)
}

#[test]
fn the_interval_is_fiellers() {
    let agree = |found: Option<f64>, expected: Option<f64>| match (found, expected) {
        (Some(found), Some(expected)) => assert_near(found, expected, 1e-6 * expected),
        (found, expected) => assert_eq!(found, expected),
    };
    for case in read::<Vec<Case>>("break_even") {
        let sides = sides(case.gain, case.gain_error, case.units);
        let found = find(fixed(case.fixed, case.fixed_error), sides).unwrap();
        agree(found.low, case.low);
        agree(found.high, case.high);
        let volume = (case.gain > 0.0).then(|| case.fixed / case.gain);
        agree(found.volume, volume);
    }
}

#[test]
fn the_verdict_goes_by_volume() {
    let cost = FixedCost {
        capacity: Some(100_000.0),
        ..fixed(60.0, 0.0)
    };
    let found = find(cost, sides(0.002, 0.0003, 500)).unwrap();
    for (volume, side) in [
        (20_000.0, CheaperSide::Vendor),
        (30_000.0, CheaperSide::Unclear),
        (50_000.0, CheaperSide::Own),
        (100_001.0, CheaperSide::BeyondCapacity),
    ] {
        assert_eq!(found.at(volume), side);
    }
    assert_eq!(
        found.in_words("accepted answers"),
        "The own model is cheaper above 30,000 accepted answers a day (between 23,178 and 42,514)."
    );
    // At the break-even, the costs are equal.
    assert_close(60.0 / found.volume.unwrap() + 0.0001, 0.0021);
}

#[test]
fn a_vendor_without_a_price_above_ours_is_always_cheaper() {
    let found = find(fixed(60.0, 0.0), sides(-0.004, 0.0003, 500)).unwrap();
    assert_eq!((found.volume, found.low, found.high), (None, None, None));
    assert_eq!(found.at(1e12), CheaperSide::Vendor);
    assert_eq!(
        found.in_words("tokens"),
        "The vendor is cheaper at any volume of tokens."
    );
}

#[test]
fn what_is_not_known_is_said() {
    let found = find(fixed(60.0, 0.0), sides(0.0004, 0.0003, 500)).unwrap();
    assert_eq!(found.at(1e12), CheaperSide::Unclear);
    assert_eq!(found.at(60_000.0), CheaperSide::Vendor);
    assert_eq!(
        found.in_words("answers"),
        "Not known yet: the own model can be cheaper only above 60,686 answers a day."
    );
    let small = |capacity| FixedCost {
        capacity: Some(capacity),
        ..fixed(60.0, 0.0)
    };
    let found = find(small(10_000.0), sides(0.002, 0.0003, 500)).unwrap();
    assert_eq!(
        found.in_words("answers"),
        "The vendor is cheaper up to 23,178 answers a day, and this hardware carries only 10,000."
    );
    let found = find(small(40_000.0), sides(0.002, 0.0003, 500)).unwrap();
    let words = found.in_words("answers");
    assert!(words.ends_with("carries 40,000, so it is not certain that it gets there."));
}

#[test]
fn an_exact_fixed_cost_moves_with_the_interval_of_the_gain() {
    let [own, vendor] = sides(0.002, 0.0003, 500);
    let gain = Estimate::difference(&own, &vendor).unwrap();
    for inference in [FIXED, Inference::AlwaysValid { tuned_to: 2000 }] {
        let interval = gain.interval(inference, 0.95).unwrap();
        let found = BreakEven::find(fixed(60.0, 0.0), &own, &vendor, inference, 0.95).unwrap();
        assert_close(found.low.unwrap(), 60.0 / interval.high);
        assert_close(found.high.unwrap(), 60.0 / interval.low);
    }
}

#[test]
fn what_is_no_cost_is_refused() {
    let good = sides(0.002, 0.0003, 500);
    for bad in [-1.0, f64::NAN, f64::INFINITY] {
        assert!(find(fixed(bad, 0.0), good).is_err());
        assert!(find(fixed(1.0, bad), good).is_err());
        let cost = FixedCost {
            capacity: Some(bad),
            ..fixed(1.0, 0.0)
        };
        assert!(find(cost, good).is_err());
    }
    assert!(find(fixed(1.0, 0.0), sides(f64::NAN, 0.1, 500)).is_err());
    let same = find(fixed(1.0, 0.0), sides(0.002, 0.0, 500));
    assert_eq!(same, Err(ExperimentError::ZeroVariance));
    let [own, vendor] = sides(0.002, 0.0003, 29);
    let always = Inference::AlwaysValid { tuned_to: 100 };
    let few = BreakEven::find(fixed(1.0, 0.0), &own, &vendor, always, 0.95);
    assert!(matches!(few, Err(ExperimentError::TooFewUnits { .. })));
}
