//! The bias of a linear layer.
#![allow(clippy::unwrap_used, clippy::panic, unreachable_pub)]

mod emulator;
#[path = "add_bias/kernel.rs"]
mod kernel;
mod reference;

use farthing_ops::add_bias;
use reference::{flat, matrix, message, vector};

#[test]
fn every_row_gets_the_bias() {
    let out = matrix(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], 3, 2);
    // The last row is not part of the view.
    add_bias(&out.narrow(0, 0, 2).unwrap(), &vector(&[10.0, -1.0])).unwrap();
    assert_eq!(flat(&out), [11.0, 1.0, 13.0, 3.0, 5.0, 6.0]);
}

#[test]
fn another_length_is_refused() {
    let out = matrix(&[0.0; 6], 2, 3);
    assert!(message(add_bias(&out, &vector(&[0.0; 2]))).contains("doesn't fit"));
}
