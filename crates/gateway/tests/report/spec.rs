//! Specifications of experiments.

use farthing_gateway::{Design, ExperimentSpec, QualitySource, SpecError, UnitKind};

const SPEC: &str = r#"
id = "legal-1"
route = "legal"
baseline = "gpt"
candidate = "ours"
unit = "user"
salt = "2026-11"
margin = 0.02
inference = { always_valid = { tuned_to = 2000 } }
started = "2026-11-28T01:00:00+01:00"
quality = { metric = "accepted", from = "feedback", accept_at_least = 1.0 }

[guardrails]
error_rate = { limit = 0.02, action = "roll_back" }
"#;

#[test]
fn a_specification_is_read() {
    let spec = ExperimentSpec::from_toml(SPEC).unwrap();
    assert_eq!(
        (spec.unit, spec.design, spec.aa),
        (UnitKind::User, Design::Split, false)
    );
    assert_eq!(spec.quality.from, QualitySource::Feedback);
    assert_eq!(spec.confidence, 0.95);
    assert_eq!(spec.started_us(), Ok(1_795_824_000_000_000));
}

#[test]
fn a_refusal_names_the_key() {
    for (old, new, key) in [
        ("id = \"legal-1\"", "id = \"\"", "id"),
        ("candidate = \"ours\"", "candidate = \"gpt\"", "candidate"),
        (
            "candidate = \"ours\"",
            "candidate = \"ours@ab\"",
            "candidate",
        ),
        ("margin = 0.02", "margin = -0.1", "margin"),
        ("margin = 0.02", "margin = nan", "margin"),
        (
            "margin = 0.02",
            "margin = 0.02\nconfidence = 1.0",
            "confidence",
        ),
        (
            "tuned_to = 2000",
            "tuned_to = 3",
            "inference.always_valid.tuned_to",
        ),
        (
            "always_valid = { tuned_to = 2000 }",
            "fixed_horizon = { units_per_arm = 0 }",
            "inference.fixed_horizon.units_per_arm",
        ),
        (
            "accept_at_least = 1.0",
            "accept_at_least = inf",
            "quality.accept_at_least",
        ),
        (
            "limit = 0.02",
            "limit = -1.0",
            "guardrails.error_rate.limit",
        ),
        ("+01:00", "", "started"),
    ] {
        let text = SPEC.replace(old, new);
        assert_ne!(text, SPEC);
        match ExperimentSpec::from_toml(&text) {
            Err(SpecError::Value { key: named, .. }) => assert_eq!(named, key),
            other => panic!("{key}: {other:?}"),
        }
    }
}

#[test]
fn unknown_keys_and_names_are_refused() {
    for (old, new, named) in [
        ("salt =", "slat =", "slat"),
        ("from = \"feedback\"", "from = \"mood\"", "mood"),
        ("action = \"roll_back\"", "action = \"stop\"", "stop"),
        (
            "[guardrails]",
            "[guardrails]\nlatency = { limit = 1.0, action = \"warn\" }",
            "latency",
        ),
        ("unit = \"user\"\n", "", "unit"),
    ] {
        let text = SPEC.replace(old, new);
        assert_ne!(text, SPEC);
        match ExperimentSpec::from_toml(&text) {
            Err(SpecError::Syntax(message)) => assert!(message.contains(named), "{message}"),
            other => panic!("{named}: {other:?}"),
        }
    }
}
