//! The gated activation compared with f64.
#![allow(clippy::unwrap_used, clippy::panic, unreachable_pub)]

mod emulator;
#[path = "silu_mul/kernel.rs"]
mod kernel;
mod reference;

use candle_core::{DType, Device, Tensor};
use farthing_ops::silu_mul;
use reference::{Random, assert_close, flat, matrix, message, on_every_level};

#[test]
fn equals_the_reference() {
    let mut random = Random(1);
    for (m, width) in [(1, 1), (1, 1536), (3, 7), (33, 100), (65, 1536)] {
        let gate_up: Vec<f32> = random
            .values(m * 2 * width)
            .iter()
            .map(|x| x * 12.0)
            .collect();
        let expected: Vec<f64> = gate_up
            .chunks_exact(2 * width)
            .flat_map(|row| {
                let (gate, up) = row.split_at(width);
                gate.iter().zip(up).map(|(gate, up)| {
                    let gate = f64::from(*gate);
                    gate / (1.0 + (-gate).exp()) * f64::from(*up)
                })
            })
            .collect();
        on_every_level(|level| {
            let out = Tensor::zeros((m, width), DType::F32, &Device::Cpu).unwrap();
            silu_mul(&out, &matrix(&gate_up, m, 2 * width)).unwrap();
            assert_close(
                &flat(&out),
                &expected,
                1e-6,
                &format!("{m} × {width} {level:?}"),
            );
        });
    }
}

#[test]
fn large_gates_saturate() {
    on_every_level(|_| {
        let out = matrix(&[0.0; 3], 1, 3);
        silu_mul(&out, &matrix(&[-1e30, 1e30, 0.0, 2.0, 2.0, 2.0], 1, 6)).unwrap();
        assert_eq!(flat(&out), [0.0, 2e30, 0.0]);
    });
}

#[test]
fn shapes_must_fit() {
    let out = matrix(&[0.0; 3], 1, 3);
    assert!(message(silu_mul(&out, &matrix(&[0.0; 5], 1, 5))).contains("needs gate_up [1, 6]"));
}
