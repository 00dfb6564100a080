//! `kernels/embed.cu` against the CPU.

use candle_core::DType;
use half::{bf16, f16};

use crate::emulator::{Half, Launch, assert_untouched, floats, halves};
use crate::reference::{Random, flat, integers, matrix, weight};

fn check<T: Half>(hidden: usize) {
    let (vocab, rows, live) = (37, 6, 5);
    let mut random = Random(hidden as u64);
    let table: Vec<T> = halves(&random.values(vocab * hidden));
    let sampled: Vec<u32> = vec![36, 0, 20];
    // If the highest bit is set, the rest is an index into `sampled`. The last row is past the live
    // rows, so its id is invalid.
    let token_ids = [0, 36, 1 << 31 | 2, 17, 1 << 31, u32::MAX];
    let tokens = [0, 36, 20, 17, 36];

    let memory = Launch::new("embed", format!("embed_{}", T::NAME), 256)
        .grid(rows, 1, 1)
        .memory(&vec![T::NAN; rows * hidden])
        .memory(&token_ids)
        .memory(&sampled)
        .memory(&table)
        .memory(&[live as u32])
        .u32(hidden)
        .run();
    let found = memory.get::<T>(0);

    let expected = matrix(&vec![0.0; live * hidden], live, hidden);
    let table = weight(&floats(&table), vocab, hidden, DType::F32);
    farthing_ops::embed(&expected, &integers(&tokens), &table).unwrap();
    let (found, padding) = found.split_at(live * hidden);
    assert_eq!(floats(found), flat(&expected));
    assert_untouched(padding, "a row that is not live is written");
}

#[test]
fn the_kernel_equals_the_cpu() {
    for hidden in [8, 576, 2048, 4104] {
        check::<bf16>(hidden);
        check::<f16>(hidden);
    }
}
