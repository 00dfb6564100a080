//! In-place addition.
#![allow(clippy::unwrap_used, clippy::panic, unreachable_pub)]

mod emulator;
#[path = "add/kernel.rs"]
mod kernel;
mod reference;

use farthing_ops::{add, add_scaled};
use reference::{Random, flat, matrix, message};

#[test]
fn every_value_is_added_to_its_own() {
    let mut random = Random(1);
    let (before, x) = (random.values(3 * 7), random.values(3 * 7));
    let out = matrix(&before, 3, 7);
    // Views of the first rows leave the other rows unchanged.
    add(
        &out.narrow(0, 0, 2).unwrap(),
        &matrix(&x, 3, 7).narrow(0, 0, 2).unwrap(),
    )
    .unwrap();
    let sums = before.iter().zip(&x).map(|(before, x)| before + x);
    let expected: Vec<f32> = sums.take(14).chain(before[14..].iter().copied()).collect();
    assert_eq!(flat(&out), expected);
}

#[test]
fn a_factor_applies_to_what_is_added() {
    let out = matrix(&[1.0, 2.0, 3.0], 1, 3);
    add_scaled(&out, &matrix(&[4.0, 8.0, -4.0], 1, 3), 0.25).unwrap();
    assert_eq!(flat(&out), [2.0, 4.0, 2.0]);
}

#[test]
fn another_shape_is_refused() {
    let out = matrix(&[0.0; 6], 2, 3);
    assert!(message(add(&out, &matrix(&[0.0; 6], 3, 2))).contains("doesn't fit"));
}
