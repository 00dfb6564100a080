//! RMS normalisation compared with sums in f64.
#![allow(clippy::unwrap_used, clippy::panic, unreachable_pub)]

mod emulator;
#[path = "rms_norm/kernel.rs"]
mod kernel;
mod reference;

use candle_core::{DType, Device, Tensor};
use farthing_ops::rms_norm;
use reference::{Random, assert_close, flat, matrix, message, on_every_level, vector};

#[test]
fn equals_the_reference() {
    let mut random = Random(1);
    for (m, hidden) in [(1, 1), (1, 576), (3, 17), (7, 100), (33, 2048), (130, 576)] {
        let x = random.values(m * hidden);
        let weight = random.values(hidden);
        let eps = 1e-5;
        let expected: Vec<f64> = x
            .chunks_exact(hidden)
            .flat_map(|row| {
                let squares: f64 = row.iter().map(|x| f64::from(*x) * f64::from(*x)).sum();
                let scale = 1.0 / (squares / hidden as f64 + f64::from(eps)).sqrt();
                row.iter()
                    .zip(&weight)
                    .map(move |(x, w)| f64::from(*x) * scale * f64::from(*w))
            })
            .collect();
        on_every_level(|level| {
            // The view starts one row into a larger tensor.
            let out = Tensor::zeros((m + 1, hidden), DType::F32, &Device::Cpu).unwrap();
            let view = out.narrow(0, 1, m).unwrap();
            rms_norm(&view, &matrix(&x, m, hidden), &vector(&weight), eps).unwrap();
            assert_close(
                &flat(&view),
                &expected,
                2e-6,
                &format!("{m} × {hidden} {level:?}"),
            );
            assert!(flat(&out)[..hidden].iter().all(|x| *x == 0.0));
        });
    }
}

#[test]
fn shapes_must_fit() {
    let out = matrix(&[0.0; 6], 2, 3);
    let x = matrix(&[0.0; 6], 3, 2);
    assert!(message(rms_norm(&out, &x, &vector(&[1.0; 3]), 1e-5)).contains("don't fit"));
}
