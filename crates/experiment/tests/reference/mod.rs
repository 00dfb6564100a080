//! Reads the fixtures that `fixtures/make.py` writes.

use std::path::Path;

use farthing_experiment::Arm;
use serde::de::DeserializeOwned;

pub fn read<T: DeserializeOwned>(name: &str) -> T {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    let text = std::fs::read_to_string(folder.join(format!("{name}.json"))).unwrap();
    serde_json::from_str(&text).unwrap()
}

/// To 1e-6 of the expected figure.
#[allow(dead_code, reason = "not every test compares so")]
#[track_caller]
pub fn assert_close(found: f64, expected: f64) {
    assert_near(found, expected, 1e-6 * expected.abs());
}

#[track_caller]
pub fn assert_near(found: f64, expected: f64, distance: f64) {
    assert!(
        (found - expected).abs() <= distance,
        "{found} is not {expected}"
    );
}

/// An arm with one unit for each row.
#[allow(dead_code, reason = "not every test has arms")]
pub fn arm(rows: &[(f64, f64)]) -> Arm<usize> {
    let mut arm = Arm::new();
    for (unit, (numerator, denominator)) in rows.iter().enumerate() {
        arm.add(unit, *numerator, *denominator).unwrap();
    }
    arm
}
