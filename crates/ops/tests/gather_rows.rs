//! Gathered rows compared with a copy.
#![allow(clippy::unwrap_used, clippy::panic, unreachable_pub)]

mod emulator;
#[path = "gather_rows/kernel.rs"]
mod kernel;
mod reference;

use candle_core::{DType, Device, Tensor};
use farthing_ops::gather_rows;
use reference::{Random, flat, integers, matrix, message};

#[test]
fn copies_rows_in_any_order_and_again() {
    let mut random = Random(1);
    let x = random.values(20 * 7);
    let rows: Vec<u32> = (0..33).map(|_| random.below(12) as u32).collect();
    let out = Tensor::zeros((33, 7), DType::F32, &Device::Cpu).unwrap();
    let view = matrix(&x, 20, 7).narrow(0, 5, 12).unwrap();
    gather_rows(&out, &view, &integers(&rows)).unwrap();
    let expected = rows
        .iter()
        .flat_map(|row| &x[(5 + *row as usize) * 7..][..7])
        .copied();
    assert_eq!(flat(&out), expected.collect::<Vec<_>>());
}

#[test]
fn a_row_outside_the_matrix_is_refused() {
    let out = matrix(&[0.0; 4], 2, 2);
    let x = matrix(&[0.0; 6], 3, 2);
    assert!(message(gather_rows(&out, &x, &integers(&[0, 3]))).contains("row 3 is outside"));
    assert!(message(gather_rows(&out, &x, &integers(&[0]))).contains("need out [1, 2]"));
}
