//! Quantiles by resampling units, held against explicit resamples in numpy.

#![allow(clippy::unwrap_used, unreachable_pub)]

mod reference;

use farthing_experiment::{ClusteredBootstrap, ExperimentError, UnitValues};
use reference::{assert_close, assert_near, read};
use serde::Deserialize;

#[derive(Deserialize)]
struct Case {
    arms: [Vec<Vec<f64>>; 2],
    q: f64,
    resamples: usize,
    seed: u64,
    quantiles: [f64; 2],
    error: f64,
    interval: [f64; 2],
}

fn values(arm: &[Vec<f64>]) -> UnitValues<usize> {
    let mut values = UnitValues::new();
    for (unit, of_unit) in arm.iter().enumerate() {
        for value in of_unit {
            values.add(unit, *value).unwrap();
        }
    }
    values
}

const BOOTSTRAP: ClusteredBootstrap = ClusteredBootstrap {
    resamples: 400,
    seed: 5,
};

#[test]
fn the_same_resamples_give_numpys_figures() {
    for case in read::<Vec<Case>>("quantiles") {
        let [baseline, candidate] = [0, 1].map(|arm| values(&case.arms[arm]));
        let bootstrap = ClusteredBootstrap {
            resamples: case.resamples,
            seed: case.seed,
        };
        let found = bootstrap
            .quantile_difference(&baseline, &candidate, case.q, 0.95)
            .unwrap();
        assert_close(found.baseline, case.quantiles[0]);
        assert_close(found.candidate, case.quantiles[1]);
        assert_close(found.difference.standard_error, case.error);
        let width = case.interval[1] - case.interval[0];
        assert_near(found.interval.low, case.interval[0], 1e-6 * width);
        assert_near(found.interval.high, case.interval[1], 1e-6 * width);
    }
}

/// 20,000 units, which are dealt into groups: the values are 0 to 1, so that the error is known.
#[test]
fn groups_of_units_give_the_error_of_units() {
    let mut arms = [UnitValues::new(), UnitValues::new()];
    for unit in 0..20_000_u64 {
        for (arm, values) in (0_u64..).zip(&mut arms) {
            // A scramble of the unit's number, so that its order says nothing.
            let mixed = (2 * unit + arm).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 11;
            values
                .add(unit, mixed as f64 / (1_u64 << 53) as f64)
                .unwrap();
        }
    }
    let found = BOOTSTRAP
        .quantile_difference(&arms[0], &arms[1], 0.9, 0.95)
        .unwrap();
    let expected = (2.0 * 0.9 * 0.1 / 20_000.0_f64).sqrt();
    assert_near(found.baseline, 0.9, 0.001);
    // 400 resamples know it to a thirtieth.
    assert_near(found.difference.standard_error, expected, 0.15 * expected);
    let again = BOOTSTRAP.quantile_difference(&arms[0], &arms[1], 0.9, 0.95);
    assert_eq!(again.unwrap(), found);
}

#[test]
fn parts_merge_to_the_whole() {
    let arm = [vec![1.0, 5.0], vec![2.0], vec![3.0, 4.0]];
    let whole = values(&arm);
    let mut left = values(&arm[..1]);
    let mut right = UnitValues::new();
    right.add(2, 3.0).unwrap();
    right.add(2, 4.0).unwrap();
    left.add(1, 2.0).unwrap();
    left.merge(right);
    assert_eq!(left, whole);
    assert_eq!((whole.units(), whole.values()), (3, 5));
}

#[test]
fn what_has_no_quantile_is_refused() {
    let some = values(&vec![vec![1.0, 2.0, 3.0, 4.0]; 50]);
    let error = |arm: &UnitValues<usize>, q| {
        BOOTSTRAP
            .quantile_difference(&some, arm, q, 0.95)
            .unwrap_err()
    };
    assert_eq!(error(&UnitValues::new(), 0.5), ExperimentError::EmptyArm);
    let one = ExperimentError::TooFewUnits { units: 1, least: 2 };
    assert_eq!(error(&values(&[vec![1.0; 99]]), 0.5), one);
    let few = ExperimentError::TooFewValues {
        values: 199,
        least: 200,
    };
    assert_eq!(error(&values(&vec![vec![1.0]; 199]), 0.95), few);
    for q in [0.0, 1.0, f64::NAN] {
        assert!(matches!(error(&some, q), ExperimentError::Parameter { .. }));
    }
    assert!(
        BOOTSTRAP
            .quantile_difference(&some, &some, 0.5, 1.0)
            .is_err()
    );
    let once = ClusteredBootstrap {
        resamples: 1,
        seed: 0,
    };
    assert!(once.quantile_difference(&some, &some, 0.5, 0.9).is_err());
    let mut values = UnitValues::new();
    assert_eq!(values.add(1, f64::NAN), Err(ExperimentError::NotFinite));
    assert_eq!(values, UnitValues::new());
}

#[test]
fn equal_values_have_no_error() {
    let same = values(&vec![vec![2.5; 4]; 50]);
    let found = BOOTSTRAP
        .quantile_difference(&same, &same, 0.5, 0.95)
        .unwrap();
    assert_eq!((found.interval.low, found.interval.high), (0.0, 0.0));
    assert_eq!(found.difference.standard_error, 0.0);
}
