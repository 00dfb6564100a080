//! `kernels/silu_mul.cu` against the CPU.

use half::{bf16, f16};

use crate::emulator::{Half, Launch, assert_untouched, floats, halves};
use crate::reference::{Random, assert_close, flat, matrix};

fn check<T: Half>(rows: usize, live: usize, intermediate: usize) {
    let mut random = Random(intermediate as u64);
    let gate_up = random.values(rows * 2 * intermediate);
    // Gates from -60 to 60: their exponentials range from almost 0 to more than the f16 maximum.
    let gate_up: Vec<f32> = gate_up.into_iter().map(|x| x * x * x * 60.0).collect();
    let mut gate_up: Vec<T> = halves(&gate_up);
    gate_up[live * 2 * intermediate..].fill(T::NAN);

    let memory = Launch::new("silu_mul", format!("silu_mul_{}", T::NAME), 256)
        .grid(rows, intermediate.div_ceil(2048), 1)
        .memory(&vec![T::NAN; rows * intermediate])
        .memory(&gate_up)
        .memory(&[live as u32])
        .u32(intermediate)
        .run();
    let found = memory.get::<T>(0);

    let expected = matrix(&vec![0.0; live * intermediate], live, intermediate);
    let gate_up = floats(&gate_up[..live * 2 * intermediate]);
    let gate_up = matrix(&gate_up, live, 2 * intermediate);
    farthing_ops::silu_mul(&expected, &gate_up).unwrap();
    let expected: Vec<f64> = flat(&expected).into_iter().map(f64::from).collect();
    let (found, padding) = found.split_at(live * intermediate);
    // Both compute in f32; the kernel's result is rounded.
    assert_close(&floats(found), &expected, 1.01 * T::ROUNDING, T::NAME);
    assert_untouched(padding, "a row that is not live is written");
}

#[test]
fn the_kernel_equals_the_cpu() {
    for intermediate in [8, 1536, 2048, 2056, 5000] {
        check::<bf16>(3, 2, intermediate);
        check::<f16>(2, 2, intermediate);
    }
}
