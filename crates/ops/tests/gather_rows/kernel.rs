//! `kernels/gather_rows.cu` against the CPU.

use half::{bf16, f16};

use crate::emulator::{Half, Launch, assert_untouched, floats, halves};
use crate::reference::{Random, flat, integers, matrix};

fn check<T: Half>(width: usize) {
    let (x_rows, capacity) = (9, 5);
    let rows = [8, 0, 8, 3];
    let mut random = Random(width as u64);
    let x: Vec<T> = halves(&random.values(x_rows * width));
    let mut padded_rows = rows.to_vec();
    padded_rows.resize(capacity, u32::MAX);

    let memory = Launch::new("gather_rows", format!("gather_rows_{}", T::NAME), 256)
        .grid(capacity, 1, 1)
        .memory(&vec![T::NAN; capacity * width])
        .memory(&x)
        .memory(&padded_rows)
        .memory(&[rows.len() as u32])
        .u32(width)
        .run();
    let found = memory.get::<T>(0);

    let expected = matrix(&vec![0.0; rows.len() * width], rows.len(), width);
    let x = matrix(&floats(&x), x_rows, width);
    farthing_ops::gather_rows(&expected, &x, &integers(&rows)).unwrap();
    let (found, padding) = found.split_at(rows.len() * width);
    assert_eq!(floats(found), flat(&expected));
    assert_untouched(padding, "a row that is not live is written");
}

#[test]
fn the_kernel_equals_the_cpu() {
    for width in [8, 576, 2048, 4104] {
        check::<bf16>(width);
        check::<f16>(width);
    }
}
