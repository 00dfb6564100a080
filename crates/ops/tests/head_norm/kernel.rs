//! `kernels/head_norm.cu` against the CPU.

use half::{bf16, f16};

use crate::EPS;
use crate::emulator::{Half, Launch, assert_untouched, floats, halves};
use crate::reference::{Random, assert_close, flat, matrix, vector};

fn check<T: Half>(heads: usize, kv_heads: usize, head_dim: usize) {
    let (rows, live) = (3, 2);
    let row_len = (heads + 2 * kv_heads) * head_dim;
    let mut random = Random(head_dim as u64);
    let mut qkv: Vec<T> = halves(&random.values(rows * row_len));
    qkv[live * row_len..].fill(T::NAN);
    let (q, k) = (random.values(head_dim), random.values(head_dim));

    let memory = Launch::new("head_norm", format!("head_norm_{}", T::NAME), 256)
        .grid(rows, 1, 1)
        .memory(&qkv)
        .memory(&q)
        .memory(&k)
        .memory(&[live as u32])
        .u32(heads)
        .u32(kv_heads)
        .u32(head_dim)
        .f32(EPS)
        .run();
    let found = memory.get::<T>(0);

    let expected = matrix(&floats(&qkv[..live * row_len]), live, row_len);
    farthing_ops::head_norm(&expected, &vector(&q), &vector(&k), heads, EPS).unwrap();
    let expected: Vec<f64> = flat(&expected).into_iter().map(f64::from).collect();
    let (found, padding) = found.split_at(live * row_len);
    // Both compute in f32; the kernel's result is rounded.
    let tolerance = 1.01 * T::ROUNDING;
    assert_close(&floats(found), &expected, tolerance, T::NAME);
    assert_untouched(padding, "a row that is not live is written");
}

#[test]
fn the_kernel_equals_the_cpu() {
    for (heads, kv_heads) in [(1, 1), (9, 3), (16, 8)] {
        for head_dim in [8, 64, 96, 128, 256] {
            check::<bf16>(heads, kv_heads, head_dim);
            check::<f16>(heads, kv_heads, head_dim);
        }
    }
}
