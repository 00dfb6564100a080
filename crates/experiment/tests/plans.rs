//! Sample sizes, held against statsmodels and confseq.

#![allow(clippy::unwrap_used, unreachable_pub)]

mod reference;

use farthing_experiment::{ExperimentError, Looks, Planner, UnitSpread};
use reference::{arm, assert_close, read};
use serde::Deserialize;

#[derive(Deserialize)]
struct Plans {
    differences: Vec<Difference>,
    relative: Vec<Relative>,
}

#[derive(Deserialize)]
struct Difference {
    means: [f64; 2],
    variances: [f64; 2],
    ratio: f64,
    power: f64,
    confidence: f64,
    margin: f64,
    once: f64,
    any: f64,
    non_inferior: f64,
}

#[derive(Deserialize)]
struct Relative {
    cv: f64,
    effect: f64,
    ratio: f64,
    power: f64,
    confidence: f64,
    once: f64,
}

const PLANNER: Planner = Planner {
    power: 0.8,
    confidence: 0.95,
    looks: Looks::Once,
    ratio: 1.0,
};

#[test]
fn sizes_are_statsmodels() {
    for case in read::<Plans>("plans").differences {
        let spreads = [0, 1].map(|arm| UnitSpread {
            mean: case.means[arm],
            variance: case.variances[arm],
        });
        let planner = Planner {
            power: case.power,
            confidence: case.confidence,
            looks: Looks::Once,
            ratio: case.ratio,
        };
        let once = planner.for_difference(spreads[0], spreads[1]).unwrap();
        assert_close(once.exact, case.once);
        assert_eq!(once.baseline, case.once.ceil() as u64);
        assert_eq!(once.candidate, (case.once * case.ratio).ceil() as u64);
        let found = planner
            .for_non_inferiority(spreads[0], spreads[1], case.margin)
            .unwrap();
        assert_close(found.exact, case.non_inferior);
        let any = Planner {
            looks: Looks::Any,
            ..planner
        };
        let any = any.for_difference(spreads[0], spreads[1]).unwrap();
        assert_close(any.exact, case.any);
    }
}

#[test]
fn relative_differences_too() {
    for case in read::<Plans>("plans").relative {
        let spread = UnitSpread {
            mean: 0.004,
            variance: (0.004 * case.cv).powi(2),
        };
        let planner = Planner {
            power: case.power,
            confidence: case.confidence,
            looks: Looks::Once,
            ratio: case.ratio,
        };
        let plan = planner.for_relative_difference(spread, case.effect);
        assert_close(plan.unwrap().exact, case.once);
    }
    let spread = UnitSpread {
        mean: 0.004,
        variance: 1e-5,
    };
    let zero = UnitSpread {
        mean: 0.0,
        ..spread
    };
    assert_eq!(
        PLANNER.for_relative_difference(zero, 0.1),
        Err(ExperimentError::ZeroBaseline)
    );
    for effect in [-1.0, 0.0, f64::NAN, f64::INFINITY] {
        assert!(PLANNER.for_relative_difference(spread, effect).is_err());
    }
}

#[test]
fn past_traffic_gives_the_spread_of_its_units() {
    // Of units with two equal requests each, the spread of units is that of requests.
    let rows: Vec<_> = (0..100).map(|n| (2.0 * f64::from(n % 10), 2.0)).collect();
    let past = UnitSpread::of(&arm(&rows).ratio().unwrap()).unwrap();
    assert_close(past.mean, 4.5);
    assert_close(past.variance, 8.25 * 100.0 / 99.0);
    // The same from requests that are all alike within a unit, and half of it from independent ones.
    let alike = UnitSpread::of_requests(4.5, 8.25, 2.0, 1.0).unwrap();
    assert_close(alike.variance, 8.25);
    let independent = UnitSpread::of_requests(4.5, 8.25, 2.0, 0.0).unwrap();
    assert_close(independent.variance, 8.25 / 2.0);
    let share = UnitSpread::of_proportion(0.7).unwrap();
    assert_close(share.variance, 0.21);
    let same = arm(&[(1.0, 1.0); 9]).ratio().unwrap();
    assert_eq!(UnitSpread::of(&same), Err(ExperimentError::ZeroVariance));
}

#[test]
fn what_cannot_be_planned_is_refused() {
    let spread = UnitSpread {
        mean: 1.0,
        variance: 2.0,
    };
    let better = UnitSpread {
        mean: 1.1,
        ..spread
    };
    assert!(PLANNER.for_difference(spread, spread).is_err());
    assert!(PLANNER.for_non_inferiority(spread, spread, 0.0).is_err());
    assert!(PLANNER.for_non_inferiority(better, spread, 0.1).is_err());
    assert!(
        PLANNER
            .for_non_inferiority(spread, spread, f64::NAN)
            .is_err()
    );
    for bad in [0.0, 1.0, f64::NAN] {
        let planner = Planner {
            power: bad,
            ..PLANNER
        };
        assert!(planner.for_difference(spread, better).is_err());
        let planner = Planner {
            confidence: bad,
            ..PLANNER
        };
        assert!(planner.for_difference(spread, better).is_err());
    }
    for ratio in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        let planner = Planner { ratio, ..PLANNER };
        assert!(planner.for_difference(spread, better).is_err());
    }
    let nothing = UnitSpread {
        mean: 1.0,
        variance: 0.0,
    };
    let other = UnitSpread {
        mean: 2.0,
        variance: 0.0,
    };
    assert!(PLANNER.for_difference(nothing, other).is_err());
    assert!(UnitSpread::of_requests(1.0, 1.0, 0.5, 0.1).is_err());
    assert!(UnitSpread::of_requests(1.0, 1.0, 2.0, 1.1).is_err());
    assert!(UnitSpread::of_proportion(1.0).is_err());
}
