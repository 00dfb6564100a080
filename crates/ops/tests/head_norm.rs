//! Normalisation of heads compared with RMSNorm in f64.
#![allow(clippy::unwrap_used, clippy::panic, unreachable_pub)]

mod emulator;
#[path = "head_norm/kernel.rs"]
mod kernel;
mod reference;

use farthing_ops::head_norm;
use reference::{Random, assert_close, flat, matrix, message, on_every_level, vector};

const EPS: f32 = 1e-6;

#[test]
fn queries_and_keys_are_normalised_and_values_are_not() {
    let mut random = Random(1);
    for (m, heads, kv_heads, head_dim) in [(1, 1, 1, 8), (5, 4, 2, 20), (33, 9, 3, 64)] {
        let all_heads = heads + 2 * kv_heads;
        let qkv = random.values(m * all_heads * head_dim);
        let (q, k) = (random.values(head_dim), random.values(head_dim));
        let mut expected = Vec::new();
        for (index, head) in qkv.chunks_exact(head_dim).enumerate() {
            let squares = head.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>();
            let root = (squares / head_dim as f64 + f64::from(EPS)).sqrt();
            for (i, x) in head.iter().enumerate() {
                let x = f64::from(*x);
                expected.push(match index % all_heads {
                    h if h < heads => x / root * f64::from(q[i]),
                    h if h < heads + kv_heads => x / root * f64::from(k[i]),
                    _ => x,
                });
            }
        }
        on_every_level(|level| {
            let out = matrix(&qkv, m, all_heads * head_dim);
            head_norm(&out, &vector(&q), &vector(&k), heads, EPS).unwrap();
            assert_close(&flat(&out), &expected, 2e-6, &format!("{heads} {level:?}"));
        });
    }
}

#[test]
fn what_does_not_fit_is_refused() {
    let qkv = matrix(&[0.0; 48], 2, 24);
    let weight = vector(&[1.0; 4]);
    let run = |heads| message(head_norm(&qkv, &weight, &weight, heads, EPS));
    // Six heads of 4: five are queries or none is.
    assert!(run(5).contains("don't fit"));
    assert!(run(6).contains("don't fit"));
    let short = vector(&[1.0; 2]);
    assert!(message(head_norm(&qkv, &weight, &short, 4, EPS)).contains("don't fit"));
}
