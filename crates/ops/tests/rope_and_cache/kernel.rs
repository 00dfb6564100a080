//! `kernels/rope_and_cache.cu` against the CPU's rotation and independently computed slots.

use candle_core::{DType, Device};
use farthing_ops::{KvCacheLayer, RopeFactors, RopeTable};
use half::{bf16, f16};

use crate::emulator::{Half, Launch, assert_untouched, floats, halves};
use crate::inv_freq;
use crate::reference::{Random, assert_close, flat, integers, matrix};

struct Case {
    heads: usize,
    kv_heads: usize,
    head_dim: usize,
    rotary_dim: usize,
    /// Whether queries have factors of their own.
    scales_queries: bool,
    block_size: usize,
}

fn check<T: Half>(case: &Case) {
    let Case {
        heads,
        kv_heads,
        head_dim,
        rotary_dim,
        scales_queries,
        block_size,
    } = *case;
    let positions = [0, 1, 99, 40, 7, 63];
    let (rows, live, num_blocks, max_positions) = (positions.len() + 1, positions.len(), 5, 100);
    let row_len = (heads + 2 * kv_heads) * head_dim;
    let mut random = Random(head_dim as u64);
    let mut qkv: Vec<T> = halves(&random.values(rows * row_len));
    qkv[live * row_len..].fill(T::NAN);
    // Includes the first and the last slot of a page and of the cache.
    let mut slots = random.shuffled(num_blocks * block_size);
    slots.retain(|slot| *slot != 0 && *slot as usize != num_blocks * block_size - 1);
    slots.splice(0..2, [0, (num_blocks * block_size - 1) as u32]);
    slots.truncate(live);
    let padded = |values: &[u32]| [values, &[u32::MAX]].concat();

    // The CPU's rotation. Separate tests check what the CPU writes to its cache.
    let factor = |position: usize| 1.0 + position as f32 / 64.0;
    let factors = RopeFactors {
        all: 1.5,
        queries: scales_queries.then_some(&factor),
    };
    let inv_freq = inv_freq(rotary_dim);
    let rope = RopeTable::new(&inv_freq, max_positions, factors, &Device::Cpu).unwrap();
    let cache = KvCacheLayer::zeros(1, 16, kv_heads, head_dim, DType::F32, &Device::Cpu).unwrap();
    let turned = matrix(&floats(&qkv[..live * row_len]), live, row_len);
    let own_slots: Vec<u32> = (0..live as u32).collect();
    let (positions, own_slots) = (integers(&positions), integers(&own_slots));
    farthing_ops::rope_and_cache(&turned, &rope, &positions, &own_slots, &cache, heads).unwrap();
    let turned = flat(&turned);

    let table: Vec<f32> = (0..max_positions)
        .flat_map(|position| {
            let angles: Vec<f32> = inv_freq.iter().map(|f| position as f32 * f).collect();
            let part = |factor: f32| {
                let cos = angles.iter().map(|a| a.cos() * factor);
                cos.chain(angles.iter().map(|a| a.sin() * factor))
                    .collect::<Vec<f32>>()
            };
            let queries = factors.queries.map(|of| part(factors.all * of(position)));
            [part(factors.all), queries.unwrap_or_default()].concat()
        })
        .collect();
    let memory = Launch::new("rope_and_cache", format!("rope_and_cache_{}", T::NAME), 256)
        .grid(rows, 1, 1)
        .memory(&qkv)
        .memory(&vec![
            T::NAN;
            num_blocks * 2 * kv_heads * block_size * head_dim
        ])
        .memory(&table)
        .memory(&padded(&positions.to_vec1().unwrap()))
        .memory(&padded(&slots))
        .memory(&[live as u32])
        .u32(heads)
        .u32(kv_heads)
        .u32(head_dim)
        .u32(rotary_dim)
        .u32(table.len() / max_positions)
        .u32(block_size)
        .run();
    let (found, mut cache) = (memory.get::<T>(0), memory.get::<T>(1));

    let close = |found: &[T], expected: &[f32], what: &str| {
        let expected: Vec<f64> = expected.iter().map(|x| f64::from(*x)).collect();
        // Both compute in f32; the kernel's result is rounded.
        assert_close(&floats(found), &expected, 1.01 * T::ROUNDING, what);
    };
    for (row, slot) in slots.iter().enumerate() {
        let (turned, before) = (&turned[row * row_len..], &qkv[row * row_len..]);
        let q_len = heads * head_dim;
        close(
            &found[row * row_len..][..q_len],
            &turned[..q_len],
            "a query",
        );
        assert_eq!(
            floats(&found[row * row_len + q_len..(row + 1) * row_len]),
            floats(&before[q_len..row_len]),
            "keys and values stay in qkv as they were"
        );
        let (block, offset) = (*slot as usize / block_size, *slot as usize % block_size);
        for part in 0..2 {
            for head in 0..kv_heads {
                let start = ((block * 2 + part) * kv_heads + head) * block_size + offset;
                let cached = &mut cache[start * head_dim..][..head_dim];
                let at = (heads + part * kv_heads + head) * head_dim;
                close(cached, &turned[at..][..head_dim], "a key or a value");
                cached.fill(T::NAN);
            }
        }
    }
    assert_untouched(&cache, "a slot that is nobody's is written");
    assert_untouched(
        &found[live * row_len..],
        "a row that is not live is written",
    );
}

#[test]
fn the_kernel_equals_the_cpu() {
    for (heads, kv_heads) in [(1, 1), (9, 3), (32, 8)] {
        for head_dim in [64, 96, 128] {
            for block_size in [16, 32] {
                let case = Case {
                    heads,
                    kv_heads,
                    head_dim,
                    rotary_dim: head_dim,
                    scales_queries: false,
                    block_size,
                };
                check::<bf16>(&case);
                if heads == 9 {
                    check::<f16>(&case);
                }
            }
        }
    }
    for (head_dim, rotary_dim, scales_queries) in
        [(128, 96, false), (96, 16, false), (128, 128, true)]
    {
        check::<bf16>(&Case {
            heads: 6,
            kv_heads: 2,
            head_dim,
            rotary_dim,
            scales_queries,
            block_size: 16,
        });
    }
}
