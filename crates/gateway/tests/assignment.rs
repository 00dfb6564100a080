//! Units and their arms.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::collections::HashMap;

use farthing_gateway::{Arm, Target, Unit, UnitKind, UnitSources, assign};

fn arm(name: &str, weight: f64) -> Arm {
    Arm {
        name: name.to_owned(),
        target: Target::Own {
            model: "base".to_owned(),
        },
        weight,
    }
}

fn arm_of<'a>(arms: &'a [Arm], unit: &str) -> &'a str {
    let unit = Unit::from_text(unit);
    let weights = arms.iter().map(|arm| (arm, arm.weight));
    &assign("salt", "experiment", &unit, weights).unwrap().name
}

fn units() -> impl Iterator<Item = String> {
    (0..50_000).map(|number| format!("user:{number}"))
}

/// The same computed by Python: for each arm, SHA-256 over the length (8 bytes, little endian) and the bytes
/// of salt, experiment, arm and unit; the first 52 bits and a half, divided by 2^52; the highest of
/// ln(draw) / weight.
#[test]
fn the_hash_is_that_of_the_documentation() {
    let arms = [arm("ours", 9.0), arm("vendor", 1.0), arm("other", 2.5)];
    let assigned: Vec<_> = [
        "user:alice",
        "user:12",
        "session:7f",
        "key:team",
        "request:x",
        "user:ü",
    ]
    .into_iter()
    .map(|unit| arm_of(&arms, unit))
    .collect();
    assert_eq!(assigned, EXPECTED);
}

const EXPECTED: [&str; 6] = ["ours", "vendor", "other", "ours", "ours", "other"];

#[test]
fn shares_are_those_of_the_weights() {
    let arms = [arm("a", 90.0), arm("b", 7.0), arm("c", 3.0)];
    let mut counts: HashMap<&str, f64> = HashMap::new();
    for unit in units() {
        *counts.entry(arm_of(&arms, &unit)).or_default() += 1.0;
    }
    let expected = [("a", 45_000.0), ("b", 3_500.0), ("c", 1_500.0)];
    let chi_squared: f64 = expected
        .iter()
        .map(|(name, expected)| (counts[name] - expected).powi(2) / expected)
        .sum();
    // The 99.9th percentile with two degrees of freedom.
    assert!(chi_squared < 13.8, "{counts:?}");
}

#[test]
fn a_larger_weight_moves_only_the_added_share() {
    let before = [arm("a", 60.0), arm("b", 30.0), arm("c", 10.0)];
    let after = [arm("a", 60.0), arm("b", 30.0), arm("c", 60.0)];
    let (mut moved, mut all) = (0, 0);
    for unit in units() {
        let (old, new) = (arm_of(&before, &unit), arm_of(&after, &unit));
        all += 1;
        if old != new {
            assert_eq!(new, "c", "{unit} moved from {old}");
            moved += 1;
        }
    }
    // From 10 % to 40 %.
    let share = f64::from(moved) / f64::from(all);
    assert!((share - 0.3).abs() < 0.01, "{share}");
}

#[test]
fn salts_and_experiments_are_independent() {
    let arms = [arm("a", 1.0), arm("b", 1.0)];
    let assigned = |salt, experiment, unit: &str| {
        let unit = Unit::from_text(unit);
        let weights = arms.iter().map(|arm| (arm, arm.weight));
        assign(salt, experiment, &unit, weights)
            .unwrap()
            .name
            .clone()
    };
    for (salt, experiment) in [
        ("other", "experiment"),
        ("salt", "other"),
        ("saltexp", "eriment"),
    ] {
        let units = || units().take(10_000);
        let same = units()
            .filter(|unit| assigned("salt", "experiment", unit) == assigned(salt, experiment, unit))
            .count();
        assert!(
            (4_800..=5_200).contains(&same),
            "{salt} {experiment}: {same}"
        );
    }
}

#[test]
fn an_arm_without_weight_gets_nothing() {
    let arms = [arm("a", 0.0), arm("b", 1.0)];
    assert!(units().take(1000).all(|unit| arm_of(&arms, &unit) == "b"));
    let none = [arm("a", 0.0)];
    let weights = none.iter().map(|arm| (arm, arm.weight));
    assert_eq!(assign("", "", &Unit::from_text("user:x"), weights), None);
}

#[test]
fn units_are_the_first_that_is_known() {
    let sources = UnitSources {
        user: Some("alice"),
        session: Some("7f"),
        key: None,
        request: "chatcmpl-1",
    };
    let unit = |kind| Unit::of(kind, sources).to_string();
    assert_eq!(unit(UnitKind::User), "user:alice");
    assert_eq!(unit(UnitKind::Session), "session:7f");
    assert_eq!(unit(UnitKind::Key), "request:chatcmpl-1");
    assert_eq!(unit(UnitKind::Request), "request:chatcmpl-1");
    let nameless = UnitSources {
        user: None,
        ..sources
    };
    assert_eq!(Unit::of(UnitKind::User, nameless).as_str(), "session:7f");
}
