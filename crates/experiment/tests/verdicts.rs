//! Verdicts and guardrails: each state, and its reason in words.

#![allow(clippy::unwrap_used, unreachable_pub)]

use farthing_experiment::{
    Assignment, Estimate, Evidence, ExperimentError, Guardrail, GuardrailAction, Inference,
    Purpose, SampleSize, State, Verdict, VerdictRule,
};

const RULE: VerdictRule = VerdictRule {
    inference: Inference::AlwaysValid { tuned_to: 2000 },
    confidence: 0.95,
    quality_margin: 0.02,
    purpose: Purpose::Compare,
};

fn difference(value: f64, standard_error: f64, units: u64) -> Estimate {
    let arm = |value| Estimate {
        value,
        standard_error: standard_error / 2.0_f64.sqrt(),
        size: SampleSize::of_arm(units / 2),
    };
    Estimate::difference(&arm(0.0), &arm(value)).unwrap()
}

fn evidence(quality: Estimate, cost: Estimate) -> Evidence {
    let units = quality.size.units / 2;
    Evidence {
        assignment: Assignment::Split {
            units: [units, units],
            weights: [1.0, 1.0],
        },
        quality: Ok(quality),
        cost: Ok(cost),
    }
}

/// With 2,000 units, to which the rule is tuned, an interval reaches 3.03 errors to each side.
fn judged(quality: f64, cost: f64) -> Verdict {
    let evidence = evidence(
        difference(quality, 0.005, 2000),
        difference(cost, 0.05, 2000),
    );
    RULE.judge(&evidence).unwrap()
}

#[test]
fn not_worse_by_the_margin_and_cheaper() {
    let verdict = judged(-0.004, -0.2);
    assert_eq!(verdict.state, State::NonInferiorAndCheaper);
    assert_eq!(
        verdict.reason,
        "The candidate is not worse by more than the margin, and it is cheaper. Quality differs by \
         -0.00400 (-0.0192 to 0.0112; margin -0.0200), cost per accepted answer by -20.0 % (-35.2 % \
         to -4.82 %)."
    );
    // Each of the two is needed.
    assert_eq!(judged(-0.006, -0.2).state, State::Inconclusive);
    assert_eq!(judged(-0.004, -0.1).state, State::Inconclusive);
}

#[test]
fn worse_in_quality_or_in_cost() {
    let verdict = judged(-0.04, -0.2);
    assert_eq!(verdict.state, State::Worse);
    assert!(
        verdict
            .reason
            .starts_with("The candidate's quality is lower by more than the margin.")
    );
    let verdict = judged(0.01, 0.2);
    assert_eq!(verdict.state, State::Worse);
    assert!(verdict.reason.starts_with("The candidate costs more."));
    assert_eq!(judged(-0.03, -0.2).state, State::Inconclusive);
    assert_eq!(judged(0.01, 0.1).state, State::Inconclusive);
}

#[test]
fn nothing_is_said_before_the_planned_sample() {
    let open = |units| {
        evidence(
            difference(-0.01, 0.02, units),
            difference(-0.05, 0.05, units),
        )
    };
    let verdict = RULE.judge(&open(1000)).unwrap();
    assert_eq!(verdict.state, State::Collecting);
    assert!(
        verdict
            .reason
            .starts_with("1000 of about 2000 units, no verdict yet.")
    );
    let verdict = RULE.judge(&open(2000)).unwrap();
    assert_eq!(verdict.state, State::Inconclusive);
    assert!(verdict.reason.contains("leave both answers open"));
}

#[test]
fn a_fixed_horizon_is_silent_until_it_is_reached() {
    let rule = VerdictRule {
        inference: Inference::FixedHorizon { units_per_arm: 500 },
        ..RULE
    };
    let clear = |units| {
        evidence(
            difference(0.01, 0.001, units),
            difference(-0.5, 0.01, units),
        )
    };
    let verdict = rule.judge(&clear(998)).unwrap();
    assert_eq!(verdict.state, State::Collecting);
    assert!(
        verdict
            .reason
            .starts_with("499 of 500 units in the smaller arm")
    );
    let verdict = rule.judge(&clear(1000)).unwrap();
    assert_eq!(verdict.state, State::NonInferiorAndCheaper);
}

#[test]
fn a_wrong_sample_ratio_blocks_every_verdict() {
    let mut evidence = evidence(difference(0.01, 0.001, 2000), difference(-0.5, 0.01, 2000));
    evidence.assignment = Assignment::Split {
        units: [1100, 900],
        weights: [0.5, 0.5],
    };
    let verdict = RULE.judge(&evidence).unwrap();
    assert_eq!(verdict.state, State::Invalid);
    assert_eq!((verdict.quality, verdict.cost), (None, None));
    assert_eq!(
        verdict.reason,
        "The arms got 1100 and 900 units, where their weights promise 1,000 and 1,000 (p = \
         0.00000774). Units are lost or counted twice, so no figure can be trusted."
    );
    // In shadow mode both arms have every unit.
    evidence.assignment = Assignment::Both;
    let verdict = RULE.judge(&evidence).unwrap();
    assert_eq!(verdict.state, State::NonInferiorAndCheaper);
    assert_eq!(verdict.sample_ratio, None);
}

#[test]
fn a_test_of_twice_the_same_says_so() {
    let rule = VerdictRule {
        purpose: Purpose::SameInBoth,
        ..RULE
    };
    let evidence = evidence(difference(-0.05, 0.005, 2000), difference(0.0, 0.05, 2000));
    let verdict = rule.judge(&evidence).unwrap();
    assert_eq!(verdict.state, State::Worse);
    assert!(verdict.reason.starts_with(
        "A/A test, both arms are the same, so any difference is a fault: the candidate's quality"
    ));
    let compared = RULE.judge(&evidence).unwrap();
    assert_eq!(
        (verdict.quality, verdict.cost),
        (compared.quality, compared.cost)
    );
}

#[test]
fn what_more_data_may_mend_is_collecting() {
    let good = difference(0.01, 0.001, 2000);
    let judge = |quality, cost| {
        RULE.judge(&Evidence {
            assignment: Assignment::Split {
                units: [1000, 1000],
                weights: [1.0, 1.0],
            },
            quality,
            cost,
        })
    };
    for error in [
        ExperimentError::EmptyArm,
        ExperimentError::ZeroDenominator,
        ExperimentError::ZeroBaseline,
        ExperimentError::ZeroVariance,
    ] {
        let verdict = judge(Ok(good), Err(error)).unwrap();
        assert_eq!(verdict.state, State::Collecting);
        assert!(verdict.reason.contains(&error.to_string()));
        assert!(verdict.reason.starts_with("The cost can't be compared yet"));
        assert!(verdict.quality.is_some());
        let verdict = judge(Err(error), Ok(good)).unwrap();
        assert_eq!(verdict.state, State::Collecting);
        assert!(
            verdict
                .reason
                .starts_with("The quality can't be compared yet")
        );
        assert!(verdict.cost.is_some());
    }
    let few = judge(Ok(difference(0.01, 0.001, 40)), Ok(good)).unwrap();
    assert_eq!(few.state, State::Collecting);
    assert!(few.reason.contains("20 units in an arm are too few"));
    // No unit at all.
    let nothing = RULE.judge(&Evidence {
        assignment: Assignment::Split {
            units: [0, 0],
            weights: [1.0, 1.0],
        },
        quality: Err(ExperimentError::EmptyArm),
        cost: Err(ExperimentError::EmptyArm),
    });
    let nothing = nothing.unwrap();
    assert_eq!(
        (nothing.state, nothing.sample_ratio),
        (State::Collecting, None)
    );
    // Faults of the caller are no state.
    let nan = judge(Ok(good), Err(ExperimentError::NotFinite));
    assert_eq!(nan, Err(ExperimentError::NotFinite));
    let one = RULE.judge(&Evidence {
        assignment: Assignment::Split {
            units: [10, 0],
            weights: [1.0, 0.0],
        },
        quality: Ok(good),
        cost: Ok(good),
    });
    assert_eq!(one, Err(ExperimentError::OneArm));
}

#[test]
fn a_rule_without_sense_is_refused() {
    let evidence = evidence(difference(0.01, 0.001, 2000), difference(-0.5, 0.01, 2000));
    for bad in [-0.01, f64::NAN, f64::INFINITY] {
        let rule = VerdictRule {
            quality_margin: bad,
            ..RULE
        };
        assert!(rule.judge(&evidence).is_err());
    }
    let rule = VerdictRule {
        confidence: 1.0,
        ..RULE
    };
    assert!(rule.judge(&evidence).is_err());
}

fn guardrail(limit: f64) -> Guardrail {
    Guardrail {
        name: "Error rate".to_owned(),
        limit,
        confidence: 0.99,
        tuned_to: 500,
    }
}

#[test]
fn a_guardrail_acts_only_on_what_is_shown() {
    let harm = difference(0.06, 0.01, 500);
    let status = guardrail(0.02).watch(Ok(harm)).unwrap();
    assert_eq!(status.action, GuardrailAction::RollBack);
    assert_eq!(
        status.reason,
        "Error rate: roll back. It is 0.0600, and at least 0.0265 with 99.0 % confidence at any \
         time, which is above the limit of 0.0200."
    );
    let status = guardrail(0.04).watch(Ok(harm)).unwrap();
    assert_eq!(status.action, GuardrailAction::Hold);
    assert!(status.reason.contains("not above the limit of 0.0400"));
}

#[test]
fn a_guardrail_waits_for_data_and_refuses_nonsense() {
    let early = guardrail(0.02).watch(Ok(difference(0.9, 0.1, 20))).unwrap();
    assert_eq!(early.action, GuardrailAction::TooEarly);
    assert_eq!(early.at_least, None);
    let early = guardrail(0.02)
        .watch(Err(ExperimentError::EmptyArm))
        .unwrap();
    assert_eq!(early.action, GuardrailAction::TooEarly);
    let nan = guardrail(0.02).watch(Err(ExperimentError::NotFinite));
    assert_eq!(nan, Err(ExperimentError::NotFinite));
    assert!(
        guardrail(f64::NAN)
            .watch(Ok(difference(0.1, 0.01, 500)))
            .is_err()
    );
}
