//! Token embeddings compared with the rows of the table.
#![allow(clippy::unwrap_used, clippy::panic, unreachable_pub)]

mod emulator;
#[path = "embed/kernel.rs"]
mod kernel;
mod reference;

use candle_core::{DType, Device, Tensor};
use farthing_ops::embed;
use reference::{Random, flat, integers, message, weight};

#[test]
fn reads_the_rows_exactly() {
    let mut random = Random(1);
    for dtype in [DType::F32, DType::BF16] {
        for (vocab, hidden) in [(1, 1), (33, 7), (100, 64)] {
            let table = random.exact(vocab * hidden, dtype);
            let packed = weight(&table, vocab, hidden, dtype);
            let ids: Vec<u32> = (0..50).map(|_| random.below(vocab) as u32).collect();
            let out = Tensor::zeros((50, hidden), DType::F32, &Device::Cpu).unwrap();
            embed(&out, &integers(&ids), &packed).unwrap();
            let expected: Vec<f32> = ids
                .iter()
                .flat_map(|id| &table[*id as usize * hidden..][..hidden])
                .copied()
                .collect();
            assert_eq!(flat(&out), expected);
        }
    }
}

#[test]
fn views_work() {
    let packed = weight(&[0.0, 1.0, 2.0, 3.0], 4, 1, DType::F32);
    let out = Tensor::zeros((5, 1), DType::F32, &Device::Cpu).unwrap();
    let ids = integers(&[9, 3, 1, 9]);
    embed(
        &out.narrow(0, 2, 2).unwrap(),
        &ids.narrow(0, 1, 2).unwrap(),
        &packed,
    )
    .unwrap();
    assert_eq!(flat(&out), [0.0, 0.0, 3.0, 1.0, 0.0]);
}

#[test]
fn an_id_outside_the_table_is_refused() {
    let packed = weight(&[0.0; 8], 4, 2, DType::BF16);
    let out = Tensor::zeros((2, 2), DType::F32, &Device::Cpu).unwrap();
    assert!(message(embed(&out, &integers(&[3, 4]), &packed)).contains("token 4 is outside"));
    assert!(message(embed(&out, &integers(&[1]), &packed)).contains("need out [1, 2]"));
}
