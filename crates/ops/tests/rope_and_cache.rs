//! Rotation compared with `rotate_half` in f64, and the cache with what was written.
#![allow(clippy::unwrap_used, clippy::panic, unreachable_pub)]

mod emulator;
#[path = "rope_and_cache/kernel.rs"]
mod kernel;
mod reference;

use candle_core::{DType, Device, Tensor};
use farthing_ops::{
    AttentionBatch, KvCacheLayer, RopeFactors, RopeTable, paged_attention, rope_and_cache,
};
use reference::{Random, assert_close, flat, integers, matrix, message, on_every_level};

fn inv_freq(head_dim: usize) -> Vec<f32> {
    (0..head_dim / 2)
        .map(|i| 1e4_f32.powf(-((2 * i) as f32) / head_dim as f32))
        .collect()
}

/// The rows of `qkv` with queries and keys rotated by HF transformers' `rotate_half`.
fn rotated(
    qkv: &[f32],
    heads: usize,
    kv_heads: usize,
    head_dim: usize,
    rotary_dim: usize,
    positions: &[u32],
) -> Vec<f64> {
    let inv_freq = inv_freq(rotary_dim);
    let row_len = (heads + 2 * kv_heads) * head_dim;
    let mut rows = Vec::new();
    for (row, position) in qkv.chunks_exact(row_len).zip(positions) {
        for (h, head) in row.chunks_exact(head_dim).enumerate() {
            for (i, x) in head.iter().enumerate() {
                let half = rotary_dim / 2;
                let angle = f64::from(*position as f32 * inv_freq[i % half]);
                let turned = match i {
                    _ if i < half => -head[i + half],
                    _ if i < rotary_dim => head[i - half],
                    _ => 0.0,
                };
                let x = f64::from(*x);
                rows.push(if h < heads + kv_heads && i < rotary_dim {
                    x * angle.cos() + f64::from(turned) * angle.sin()
                } else {
                    x
                });
            }
        }
    }
    rows
}

#[test]
fn rotates_as_the_reference() {
    let mut random = Random(1);
    for (m, heads, kv_heads, head_dim, rotary_dim) in [
        (1, 1, 1, 2, 2),
        (7, 4, 2, 8, 8),
        (33, 9, 3, 64, 64),
        (5, 3, 1, 80, 80),
        (5, 3, 1, 128, 96),
        (2, 2, 2, 10, 6),
    ] {
        let row_len = (heads + 2 * kv_heads) * head_dim;
        let qkv = random.values(m * row_len);
        let positions: Vec<u32> = (0..m).map(|_| random.below(500) as u32).collect();
        let rope =
            RopeTable::new(&inv_freq(rotary_dim), 500, RopeFactors::NONE, &Device::Cpu).unwrap();
        assert_eq!((rope.max_positions(), rope.rotary_dim()), (500, rotary_dim));
        let expected = rotated(&qkv, heads, kv_heads, head_dim, rotary_dim, &positions);
        on_every_level(|level| {
            let cache = KvCacheLayer::zeros(3, 16, kv_heads, head_dim, DType::F32, &Device::Cpu);
            let slots: Vec<u32> = (0..m as u32).collect();
            let out = matrix(&qkv, m, row_len);
            let (positions, slots) = (integers(&positions), integers(&slots));
            rope_and_cache(&out, &rope, &positions, &slots, &cache.unwrap(), heads).unwrap();
            assert_close(
                &flat(&out),
                &expected,
                2e-6,
                &format!("{m} × {heads} × {head_dim} {level:?}"),
            );
        });
    }
}

#[test]
fn factors_scale_what_is_rotated() {
    let mut random = Random(3);
    let (m, heads, kv_heads, head_dim) = (6, 4, 2, 8);
    let row_len = (heads + 2 * kv_heads) * head_dim;
    let qkv = random.values(m * row_len);
    let positions: Vec<u32> = (0..m as u32).map(|i| 10 * i).collect();
    let factor = |position: usize| 1.0 + position as f32 / 20.0;
    let factors = RopeFactors {
        all: 0.5,
        queries: Some(&factor),
    };
    let rope = RopeTable::new(&inv_freq(head_dim), 64, factors, &Device::Cpu).unwrap();
    let mut expected = rotated(&qkv, heads, kv_heads, head_dim, head_dim, &positions);
    for (row, position) in expected.chunks_exact_mut(row_len).zip(&positions) {
        let (queries, rest) = row.split_at_mut(heads * head_dim);
        let scale = 0.5 * f64::from(factor(*position as usize));
        queries.iter_mut().for_each(|x| *x *= scale);
        let keys = &mut rest[..kv_heads * head_dim];
        keys.iter_mut().for_each(|x| *x *= 0.5);
    }
    let cache = KvCacheLayer::zeros(1, 16, kv_heads, head_dim, DType::F32, &Device::Cpu).unwrap();
    let out = matrix(&qkv, m, row_len);
    let slots: Vec<u32> = (0..m as u32).collect();
    let (positions, slots) = (integers(&positions), integers(&slots));
    rope_and_cache(&out, &rope, &positions, &slots, &cache, heads).unwrap();
    assert_close(&flat(&out), &expected, 2e-6, "scaled");
    // Only part of a query would be scaled.
    let partial = RopeTable::new(&inv_freq(4), 64, factors, &Device::Cpu).unwrap();
    let refused = rope_and_cache(&out, &partial, &positions, &slots, &cache, heads);
    assert!(message(refused).contains("scales queries"));
}

#[test]
fn a_still_table_changes_nothing() {
    for head_dim in [4, 64] {
        let qkv = Random(4).values(3 * 3 * head_dim);
        let rope = RopeTable::still(head_dim, 100, &Device::Cpu).unwrap();
        let cache = KvCacheLayer::zeros(1, 16, 1, head_dim, DType::F32, &Device::Cpu).unwrap();
        let out = matrix(&qkv, 3, 3 * head_dim);
        let (positions, slots) = (integers(&[0, 7, 99]), integers(&[0, 1, 2]));
        rope_and_cache(&out, &rope, &positions, &slots, &cache, 1).unwrap();
        assert_eq!(flat(&out), qkv);
    }
}

/// A sequence of one token attends only to itself, so attention returns the value in its slot. This
/// checks every slot.
#[test]
fn values_come_back_from_their_slots() {
    let mut random = Random(2);
    for dtype in [DType::F32, DType::BF16] {
        let (heads, kv_heads, head_dim, blocks) = (4, 2, 20, 3);
        let row_len = (heads + 2 * kv_heads) * head_dim;
        let cache =
            KvCacheLayer::zeros(blocks, 16, kv_heads, head_dim, dtype, &Device::Cpu).unwrap();
        let rope =
            RopeTable::new(&inv_freq(head_dim), 64, RopeFactors::NONE, &Device::Cpu).unwrap();
        let m = blocks * 16;
        let qkv = random.exact(m * row_len, dtype);
        let tensor = matrix(&qkv, m, row_len);
        // Every block is the first one of a sequence, and only its slot 0 is used.
        let slots = random.shuffled(m);
        rope_and_cache(
            &tensor,
            &rope,
            &integers(&vec![0; m]),
            &integers(&slots),
            &cache,
            heads,
        )
        .unwrap();
        for (row, slot) in slots.iter().enumerate().filter(|(_, slot)| *slot % 16 == 0) {
            let batch = AttentionBatch {
                query_starts: integers(&[0, 1]),
                context_lens: integers(&[1]),
                block_tables: Tensor::from_slice(&[slot / 16], (1, 1), &Device::Cpu).unwrap(),
                max_queries: 1,
            };
            let out = Tensor::zeros((1, heads * head_dim), DType::F32, &Device::Cpu).unwrap();
            let queries = tensor.narrow(0, row, 1).unwrap();
            paged_attention(&out, &queries, &cache, &batch, heads, 0.1, None).unwrap();
            let values =
                &qkv[row * row_len + (heads + kv_heads) * head_dim..][..kv_heads * head_dim];
            let expected = (0..heads).flat_map(|head| &values[head / 2 * head_dim..][..head_dim]);
            assert_eq!(flat(&out), expected.copied().collect::<Vec<_>>());
        }
    }
}

#[test]
fn what_does_not_fit_is_refused() {
    let cache = KvCacheLayer::zeros(2, 16, 1, 4, DType::BF16, &Device::Cpu).unwrap();
    assert_eq!(cache.size_bytes(), 2 * 16 * (4 + 16) * 2);
    let rope = RopeTable::new(&inv_freq(4), 10, RopeFactors::NONE, &Device::Cpu).unwrap();
    let qkv = matrix(&[0.0; 24], 2, 12);
    let run = |positions: &[u32], slots: &[u32], heads: usize| {
        message(rope_and_cache(
            &qkv,
            &rope,
            &integers(positions),
            &integers(slots),
            &cache,
            heads,
        ))
    };
    assert!(run(&[0, 10], &[0, 1], 1).contains("position 10 is outside"));
    assert!(run(&[0, 1], &[0, 32], 1).contains("slot 32 is outside"));
    assert!(run(&[0, 1], &[0, 1], 2).contains("needs rows of 16"));
    assert!(run(&[0], &[0, 1], 1).contains("1 positions for 2 rows"));
    let wide = RopeTable::new(&inv_freq(6), 10, RopeFactors::NONE, &Device::Cpu).unwrap();
    let (positions, slots) = (integers(&[0, 1]), integers(&[0, 1]));
    let refused = rope_and_cache(&qkv, &wide, &positions, &slots, &cache, 1);
    assert!(message(refused).contains("rope of 6 dimensions"));
    let zeros = |size, dim| KvCacheLayer::zeros(2, size, 1, dim, DType::BF16, &Device::Cpu);
    assert!(message(zeros(32, 4)).contains("blocks of 16"));
    assert!(message(zeros(16, 5)).contains("even head_dim"));
}
