//! `kernels/rms_norm.cu` against the CPU.

use half::{bf16, f16};

use crate::emulator::{Half, Launch, assert_untouched, floats, halves};
use crate::reference::{Random, assert_close, flat, matrix, vector};

fn check<T: Half>(rows: usize, live: usize, hidden: usize) {
    let mut random = Random(hidden as u64);
    let mut x: Vec<T> = halves(&random.values(rows * hidden));
    x[live * hidden..].fill(T::NAN);
    let weight = random.values(hidden);
    let out = vec![T::NAN; rows * hidden];

    let memory = Launch::new("rms_norm", format!("rms_norm_{}", T::NAME), 512)
        .grid(rows, 1, 1)
        .memory(&out)
        .memory(&x)
        .memory(&weight)
        .memory(&[live as u32])
        .u32(hidden)
        .f32(1e-5)
        .run();
    let found = memory.get::<T>(0);

    let expected = matrix(&vec![0.0; live * hidden], live, hidden);
    let x = matrix(&floats(&x[..live * hidden]), live, hidden);
    farthing_ops::rms_norm(&expected, &x, &vector(&weight), 1e-5).unwrap();
    let expected: Vec<f64> = flat(&expected).into_iter().map(f64::from).collect();
    let (found, padding) = found.split_at(live * hidden);
    // Both compute in f32; the kernel's result is rounded.
    let tolerance = 1.01 * T::ROUNDING;
    assert_close(&floats(found), &expected, tolerance, T::NAME);
    assert_untouched(padding, "a row that is not live is written");
}

#[test]
fn the_kernel_equals_the_cpu() {
    for hidden in [8, 64, 576, 4096, 4104, 16384] {
        check::<bf16>(3, 2, hidden);
        check::<f16>(2, 2, hidden);
    }
    check::<bf16>(2, 0, 64);
}
