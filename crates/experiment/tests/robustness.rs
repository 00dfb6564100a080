//! Whatever comes in, no result is NaN or infinite, and intervals contain their estimates.

#![allow(clippy::unwrap_used, unreachable_pub)]

use farthing_experiment::{
    Arm, ArmPair, Assignment, BreakEven, ClusteredBootstrap, Estimate, Evidence, ExperimentError,
    FixedCost, Guardrail, Inference, JudgeCalibration, JudgedShare, Proportion, Purpose,
    SampleRatio, UnitValues, VerdictRule, newcombe_interval,
};
use proptest::prelude::*;

/// Ordinary figures, and those at the edges of what a float holds.
fn figure() -> impl Strategy<Value = f64> {
    prop_oneof![
        4 => -10.0..10.0,
        1 => Just(0.0),
        1 => Just(1.0),
        1 => -1e308..1e308,
        1 => 1e-320..1e-300,
        1 => any::<f64>(),
    ]
}

fn arm() -> impl Strategy<Value = Arm<usize>> {
    let rows = prop_oneof![
        prop::collection::vec((figure(), figure()), 0..50),
        prop::collection::vec((-1.0..1.0, 0.0..2.0), 0..80),
        (figure(), figure(), 0..50_usize).prop_map(|(a, b, units)| vec![(a, b); units]),
    ];
    rows.prop_map(|rows| {
        let mut arm = Arm::new();
        for (unit, (numerator, denominator)) in rows.into_iter().enumerate() {
            // What is refused leaves the arm as it was.
            let _ = arm.add(unit, numerator, denominator);
        }
        arm
    })
}

fn inference() -> impl Strategy<Value = Inference> {
    prop_oneof![
        (0..10_000_u64).prop_map(|tuned_to| Inference::AlwaysValid { tuned_to }),
        (0..100_u64).prop_map(|units_per_arm| Inference::FixedHorizon { units_per_arm }),
    ]
}

fn is_finite(estimate: &Estimate) -> bool {
    let figures = [
        estimate.value,
        estimate.standard_error,
        estimate.size.degrees_of_freedom,
    ];
    figures.iter().all(|figure| figure.is_finite()) && estimate.standard_error >= 0.0
}

proptest! {
    #[test]
    fn estimates_and_verdicts_are_finite(
        baseline in arm(),
        candidate in arm(),
        inference in inference(),
        confidence in prop_oneof![3 => 0.5..0.999, 1 => figure()],
        fixed in figure(),
        margin in figure(),
    ) {
        let arms = [&baseline, &candidate];
        let ratios = arms.map(Arm::ratio);
        let shares = arms.map(Arm::share);
        let pair = ArmPair { baseline: &baseline, candidate: &candidate };
        let two = |figures: [Result<Estimate, ExperimentError>; 2]| Ok([figures[0]?, figures[1]?]);
        let difference = two(ratios).and_then(|[a, b]| Estimate::difference(&a, &b));
        let relative = two(ratios).and_then(|[a, b]| Estimate::relative_difference(&a, &b));
        let all = [
            ratios[0], ratios[1], shares[0], shares[1], difference, relative,
            pair.difference(), pair.relative_difference(), pair.share_difference(),
        ];
        for estimate in all.into_iter().flatten() {
            prop_assert!(is_finite(&estimate), "{estimate:?}");
            if let Ok(interval) = estimate.interval(inference, confidence) {
                prop_assert!(interval.low <= estimate.value && estimate.value <= interval.high);
                prop_assert!(interval.low.is_finite() && interval.high.is_finite());
            }
            for bound in [
                estimate.lower_bound(inference, confidence),
                estimate.upper_bound(inference, confidence),
            ] {
                prop_assert!(bound.is_ok_and(f64::is_finite) || bound.is_err());
            }
            if let Ok(p) = estimate.p_value(inference, 0.0) {
                prop_assert!((0.0..=1.0).contains(&p), "{p}");
            }
        }
        if let Ok([own, vendor]) = two(ratios) {
            let fixed = FixedCost { usd_per_day: fixed, standard_error: 0.0, capacity: None };
            if let Ok(found) = BreakEven::find(fixed, &own, &vendor, inference, confidence) {
                for volume in [found.volume, found.low, found.high].into_iter().flatten() {
                    prop_assert!(volume.is_finite() && volume >= 0.0, "{found:?}");
                }
                if let (Some(low), Some(volume)) = (found.low, found.volume) {
                    prop_assert!(low <= volume * (1.0 + 1e-9) + 1e-300, "{found:?}");
                }
                if let (Some(high), Some(volume)) = (found.high, found.volume) {
                    prop_assert!(volume <= high * (1.0 + 1e-9) + 1e-300, "{found:?}");
                }
                prop_assert!(!found.in_words("answers").contains("NaN"));
            }
        }
        let evidence = Evidence { assignment: Assignment::Both, quality: difference, cost: relative };
        let rule = VerdictRule {
            inference, confidence, quality_margin: margin, purpose: Purpose::Compare,
        };
        if let Ok(verdict) = rule.judge(&evidence) {
            prop_assert!(!verdict.reason.contains("NaN") && !verdict.reason.contains("inf "));
        }
        let guardrail = Guardrail {
            name: "Errors".to_owned(), limit: margin, confidence, tuned_to: 100,
        };
        if let Ok(status) = guardrail.watch(difference) {
            prop_assert!(status.at_least.is_none_or(f64::is_finite));
        }
    }

    #[test]
    fn shares_stay_shares(
        counts in prop::array::uniform4((0..500_u64, 0..500_u64)),
        confidence in prop_oneof![3 => 0.5..0.9999, 1 => figure()],
        inference in inference(),
        weights in prop::array::uniform2(figure()),
    ) {
        let [a, b, sensitivity, specificity] = counts
            .map(|(successes, trials)| Proportion { successes, trials });
        if let Ok(interval) = newcombe_interval(a, b, confidence) {
            prop_assert!(-1.0 <= interval.low && interval.low <= interval.high);
            prop_assert!(interval.high <= 1.0);
        }
        let calibration = JudgeCalibration { sensitivity, specificity };
        let corrected = JudgedShare::of_trials(a)
            .and_then(|judged| calibration.correct(&judged, inference, confidence));
        if let Ok(found) = corrected {
            prop_assert!(0.0 <= found.interval.low && found.interval.high <= 1.0);
            prop_assert!(found.interval.low <= found.interval.high);
            prop_assert!((0.0..=1.0).contains(&found.value));
        }
        if let Ok(ratio) = SampleRatio::check(&[a.trials, b.trials], &weights) {
            prop_assert!(ratio.chi_square.is_finite() && (0.0..=1.0).contains(&ratio.p_value));
        }
    }

    #[test]
    fn quantiles_are_values(
        values in prop::collection::vec((0..30_usize, figure()), 0..200),
        q in prop_oneof![3 => 0.05..0.95, 1 => figure()],
    ) {
        let mut arm = UnitValues::new();
        for (unit, value) in &values {
            let _ = arm.add(*unit, *value);
        }
        let bootstrap = ClusteredBootstrap { resamples: 20, seed: 1 };
        if let Ok(found) = bootstrap.quantile_difference(&arm, &arm, q, 0.9) {
            prop_assert!(values.iter().any(|(_, value)| *value == found.baseline));
            prop_assert!(is_finite(&found.difference));
            prop_assert!(found.interval.low.is_finite() && found.interval.high.is_finite());
        }
    }
}
