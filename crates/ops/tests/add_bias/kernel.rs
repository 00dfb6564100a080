//! `kernels/add_bias.cu` against the CPU.

use half::{bf16, f16};

use crate::emulator::{Half, Launch, assert_untouched, floats, halves};
use crate::reference::{Random, assert_close, flat, matrix, vector};

fn check<T: Half>(width: usize) {
    let (rows, live) = (3, 2);
    let mut random = Random(width as u64);
    let mut before: Vec<T> = halves(&random.values(rows * width));
    let bias = random.values(width);
    before[live * width..].fill(T::NAN);

    let memory = Launch::new("add_bias", format!("add_bias_{}", T::NAME), 256)
        .grid(rows, width.div_ceil(2048), 1)
        .memory(&before)
        .memory(&bias)
        .memory(&[live as u32])
        .u32(width)
        .run();
    let found = memory.get::<T>(0);

    let expected = matrix(&floats(&before[..live * width]), live, width);
    farthing_ops::add_bias(&expected, &vector(&bias)).unwrap();
    let expected: Vec<f64> = flat(&expected).into_iter().map(f64::from).collect();
    let (found, padding) = found.split_at(live * width);
    // The kernel's result is rounded.
    assert_close(&floats(found), &expected, 1.01 * T::ROUNDING, T::NAME);
    assert_untouched(padding, "a row that is not live is written");
}

#[test]
fn the_kernel_equals_the_cpu() {
    for width in [8, 1152, 2056, 4104] {
        check::<bf16>(width);
        check::<f16>(width);
    }
}
