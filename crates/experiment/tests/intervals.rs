//! Boundaries, proportions, adjustments and checks, held against confseq, scipy and statsmodels.

#![allow(clippy::unwrap_used, unreachable_pub)]

mod reference;

use farthing_experiment::{
    Estimate, ExperimentError, Inference, NormalMixture, Proportion, SampleRatio, SampleSize,
    Sides, holm, newcombe_interval,
};
use reference::{assert_close, assert_near, read};
use serde::Deserialize;

#[derive(Deserialize)]
struct Boundary {
    time: f64,
    alpha: f64,
    tuned_to: f64,
    one_sided: bool,
    bound: f64,
    log_evidence: Option<f64>,
}

#[test]
fn boundaries_are_confseqs() {
    for case in read::<Vec<Boundary>>("boundaries") {
        let (time, alpha) = (case.time, case.alpha);
        if case.one_sided {
            let mixture = NormalMixture::one_sided(case.tuned_to, alpha).unwrap();
            assert_close(mixture.one_sided_bound(time, alpha).unwrap(), case.bound);
        } else {
            let mixture = NormalMixture::two_sided(case.tuned_to, alpha).unwrap();
            assert_close(mixture.two_sided_bound(time, alpha), case.bound);
            let evidence = mixture.log_evidence(time, 0.7 * case.bound);
            assert_near(evidence, case.log_evidence.unwrap(), 1e-6);
        }
    }
}

#[test]
fn a_boundary_needs_a_size_and_a_level() {
    for (tuned_to, alpha) in [(0.0, 0.05), (f64::NAN, 0.05), (100.0, 0.0), (100.0, 1.0)] {
        assert!(NormalMixture::two_sided(tuned_to, alpha).is_err());
    }
    assert!(NormalMixture::one_sided(100.0, 0.5).is_err());
}

#[derive(Deserialize)]
struct Student {
    units: u64,
    confidence: f64,
    two_sided: f64,
    one_sided: f64,
    p_at_bound: f64,
}

#[test]
fn a_fixed_horizon_uses_students_t_of_scipy() {
    let fixed = Inference::FixedHorizon { units_per_arm: 2 };
    for case in read::<Vec<Student>>("student") {
        let size = SampleSize::of_arm(case.units);
        let multiplier = |sides| fixed.multiplier(size, case.confidence, sides).unwrap();
        assert_close(multiplier(Sides::Two), case.two_sided);
        assert_close(multiplier(Sides::One), case.one_sided);
        let estimate = Estimate {
            value: case.two_sided,
            standard_error: 1.0,
            size,
        };
        assert_close(estimate.p_value(fixed, 0.0).unwrap(), case.p_at_bound);
    }
    // Beyond measure, it is the normal distribution.
    let endless = SampleSize {
        degrees_of_freedom: f64::INFINITY,
        ..SampleSize::of_arm(2)
    };
    let normal = fixed.multiplier(endless, 0.95, Sides::Two).unwrap();
    assert_close(normal, 1.959963984540054);
}

#[derive(Deserialize)]
struct Proportions {
    baseline: (u64, u64),
    candidate: (u64, u64),
    confidence: f64,
    wilson: [f64; 2],
    newcombe: [f64; 2],
}

fn proportion((successes, trials): (u64, u64)) -> Proportion {
    Proportion { successes, trials }
}

#[test]
fn proportions_are_statsmodels() {
    for case in read::<Vec<Proportions>>("proportions") {
        let (base, other) = (proportion(case.baseline), proportion(case.candidate));
        let wilson = other.interval(case.confidence).unwrap();
        assert_near(wilson.low, case.wilson[0], 1e-9);
        assert_near(wilson.high, case.wilson[1], 1e-9);
        let found = newcombe_interval(base, other, case.confidence).unwrap();
        assert_near(found.low, case.newcombe[0], 1e-9);
        assert_near(found.high, case.newcombe[1], 1e-9);
    }
}

#[test]
fn what_is_no_proportion_is_refused() {
    let some = proportion((1, 2));
    for (bad, error) in [
        (proportion((0, 0)), ExperimentError::EmptyArm),
        (proportion((3, 2)), ExperimentError::NoShare),
    ] {
        assert_eq!(newcombe_interval(bad, some, 0.95), Err(error));
        assert_eq!(newcombe_interval(some, bad, 0.95), Err(error));
    }
    assert!(newcombe_interval(some, some, 1.0).is_err());
}

#[derive(Deserialize)]
struct Holm {
    p: Vec<f64>,
    adjusted: Vec<f64>,
}

#[test]
fn holm_is_statsmodels() {
    for case in read::<Vec<Holm>>("holm") {
        for (found, expected) in holm(&case.p).unwrap().into_iter().zip(case.adjusted) {
            assert_near(found, expected, 1e-12);
        }
    }
    assert_eq!(holm(&[]), Ok(Vec::new()));
    assert!(holm(&[0.5, f64::NAN]).is_err());
    assert!(holm(&[1.5]).is_err());
}

#[derive(Deserialize)]
struct Ratio {
    units: Vec<u64>,
    weights: Vec<f64>,
    chi_square: f64,
    p: f64,
}

#[test]
fn the_sample_ratio_is_scipys() {
    for case in read::<Vec<Ratio>>("sample_ratio") {
        let found = SampleRatio::check(&case.units, &case.weights).unwrap();
        assert_near(found.chi_square, case.chi_square, 1e-9);
        assert_near(found.p_value, case.p, 1e-12 + 1e-6 * case.p);
        assert_eq!(found.passes(), case.p >= 0.001);
    }
}

#[test]
fn what_has_no_sample_ratio_is_refused() {
    let check = SampleRatio::check;
    assert_eq!(check(&[5], &[1.0]), Err(ExperimentError::OneArm));
    assert_eq!(check(&[5, 0], &[1.0, 0.0]), Err(ExperimentError::OneArm));
    assert_eq!(check(&[0, 0], &[1.0, 1.0]), Err(ExperimentError::EmptyArm));
    assert!(check(&[5, 5], &[1.0]).is_err());
    assert!(check(&[5, 5, 5], &[1.0, 1.0, 0.0]).is_err());
    for bad in [-1.0, f64::NAN, f64::INFINITY] {
        assert!(check(&[5, 5, 5], &[1.0, 1.0, bad]).is_err());
    }
    // One arm without a single unit is the worst mismatch.
    assert!(!check(&[50, 0], &[1.0, 1.0]).unwrap().passes());
}
