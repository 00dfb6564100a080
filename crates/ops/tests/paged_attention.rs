//! Attention over shuffled blocks with poisoned free slots, compared with softmax in f64.
#![allow(clippy::unwrap_used, clippy::panic, unreachable_pub)]

mod emulator;
#[path = "paged_attention/kernel.rs"]
mod kernel;
mod reference;

use candle_core::{DType, Device, Tensor};
use farthing_ops::{
    AttentionBatch, KvCacheLayer, RopeFactors, RopeTable, paged_attention, rope_and_cache,
};
use reference::{
    Random, assert_close, flat, integers, matrix, message, on_every_level, round, round_activation,
};

struct Case {
    heads: usize,
    kv_heads: usize,
    head_dim: usize,
    window: Option<usize>,
    dtype: DType,
    /// Context length and number of queries of each row.
    rows: Vec<(usize, usize)>,
}

const SCALE: f32 = 0.3;

/// Fills a cache whose blocks are shuffled and whose unused slots are poisoned, computes attention,
/// and compares it with attention in f64.
fn check(case: &Case, seed: u64) {
    let Case {
        heads,
        kv_heads,
        head_dim,
        window,
        dtype,
        ref rows,
    } = *case;
    let mut random = Random(seed);
    let row_len = (heads + 2 * kv_heads) * head_dim;
    let max_blocks = rows
        .iter()
        .map(|(context, _)| context.div_ceil(16))
        .max()
        .unwrap()
        + 1;
    let num_blocks: usize = rows
        .iter()
        .map(|(context, _)| context.div_ceil(16))
        .sum::<usize>()
        + 2;
    let cache =
        KvCacheLayer::zeros(num_blocks, 16, kv_heads, head_dim, dtype, &Device::Cpu).unwrap();
    // With all frequencies zero nothing is rotated, so keys are stored as written.
    let rope =
        RopeTable::new(&vec![0.0; head_dim / 2], 1, RopeFactors::NONE, &Device::Cpu).unwrap();
    let write = |qkv: &[f32], slots: &[u32]| {
        let m = slots.len();
        let qkv = matrix(qkv, m, row_len);
        rope_and_cache(
            &qkv,
            &rope,
            &integers(&vec![0; m]),
            &integers(slots),
            &cache,
            heads,
        )
        .unwrap();
    };
    let all: Vec<u32> = (0..num_blocks as u32 * 16).collect();
    write(&vec![f32::NAN; all.len() * row_len], &all);

    let mut free = random.shuffled(num_blocks);
    // Entries past a row's context point outside the cache: reading one is an error.
    let mut tables = vec![u32::MAX; rows.len() * max_blocks];
    let mut queries = Vec::new();
    let mut contexts = Vec::new();
    let mut starts = vec![0];
    for (r, (context, count)) in rows.iter().enumerate() {
        let blocks = free.split_off(free.len() - context.div_ceil(16));
        tables[r * max_blocks..][..blocks.len()].copy_from_slice(&blocks);
        let qkv = random.values(context * row_len);
        let slots: Vec<u32> = (0..*context)
            .map(|t| blocks[t / 16] * 16 + (t % 16) as u32)
            .collect();
        write(&qkv, &slots);
        queries.extend_from_slice(&qkv[(context - count) * row_len..]);
        starts.push(starts[r] + *count as u32);
        contexts.push(qkv);
    }
    let m = queries.len() / row_len;
    let batch = AttentionBatch {
        query_starts: integers(&starts),
        context_lens: integers(
            &rows
                .iter()
                .map(|(context, _)| *context as u32)
                .collect::<Vec<_>>(),
        ),
        block_tables: Tensor::from_vec(tables, (rows.len(), max_blocks), &Device::Cpu).unwrap(),
        max_queries: rows.iter().map(|(_, queries)| *queries).max().unwrap_or(0),
    };

    on_every_level(|level| {
        let mut expected = Vec::new();
        for ((context, count), qkv) in rows.iter().zip(&contexts) {
            for i in context - count..*context {
                for head in 0..heads {
                    let group = heads / kv_heads;
                    let query = &qkv[i * row_len + head * head_dim..][..head_dim];
                    let part = |j: usize, offset: usize| {
                        let start = j * row_len + (offset + head / group) * head_dim;
                        qkv[start..start + head_dim]
                            .iter()
                            .map(|x| f64::from(round(*x, dtype)))
                    };
                    let first = (i + 1).saturating_sub(window.unwrap_or(usize::MAX));
                    let scores: Vec<f64> = (first..=i)
                        .map(|j| {
                            let query = query
                                .iter()
                                .map(|x| f64::from(round_activation(*x * SCALE, level, dtype)));
                            query.zip(part(j, heads)).map(|(q, k)| q * k).sum()
                        })
                        .collect();
                    let highest = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                    let weights: Vec<f64> = scores.iter().map(|s| (s - highest).exp()).collect();
                    let total: f64 = weights.iter().sum();
                    let mut out = vec![0.0; head_dim];
                    for (j, weight) in (first..=i).zip(&weights) {
                        for (out, v) in out.iter_mut().zip(part(j, heads + kv_heads)) {
                            *out += weight / total * v;
                        }
                    }
                    expected.extend(out);
                }
            }
        }
        let out = Tensor::zeros((m, heads * head_dim), DType::F32, &Device::Cpu).unwrap();
        let queries = matrix(&queries, m, row_len);
        paged_attention(&out, &queries, &cache, &batch, heads, SCALE, window).unwrap();
        let rounds = level.rounds_activations() && dtype == DType::BF16;
        let tolerance = if rounds { 1e-2 } else { 5e-6 };
        let what =
            format!("{heads}/{kv_heads} × {head_dim} {dtype:?} {window:?} {level:?} {rows:?}");
        assert_close(&flat(&out), &expected, tolerance, &what);
    });
}

#[test]
fn decode_at_every_page_edge() {
    for dtype in [DType::F32, DType::BF16] {
        let rows = [1, 2, 15, 16, 17, 31, 32, 33, 127, 128, 129, 300].map(|context| (context, 1));
        for (heads, kv_heads) in [(3, 3), (9, 3), (8, 2)] {
            let case = Case {
                heads,
                kv_heads,
                head_dim: 64,
                window: None,
                dtype,
                rows: rows.to_vec(),
            };
            check(&case, 1);
        }
    }
}

#[test]
fn every_head_dim() {
    for dtype in [DType::F32, DType::BF16] {
        for head_dim in [2, 8, 18, 64, 80, 96, 128] {
            let rows = vec![(40, 40), (7, 1), (150, 13)];
            check(
                &Case {
                    heads: 4,
                    kv_heads: 2,
                    head_dim,
                    window: None,
                    dtype,
                    rows,
                },
                2,
            );
        }
    }
}

#[test]
fn prompts_in_chunks_beside_decodes_and_rows_without_queries() {
    for dtype in [DType::F32, DType::BF16] {
        let rows = vec![
            (1, 1),
            (33, 33),
            (64, 0),
            (100, 7),
            (15, 15),
            (290, 161),
            (16, 0),
            (77, 1),
        ];
        for (heads, kv_heads) in [(9, 3), (2, 2), (8, 2)] {
            check(
                &Case {
                    heads,
                    kv_heads,
                    head_dim: 16,
                    window: None,
                    dtype,
                    rows: rows.clone(),
                },
                3,
            );
        }
    }
}

#[test]
fn windows_shorter_and_longer_than_the_context() {
    for window in [1, 5, 16, 17, 100, 1000] {
        let rows = vec![(1, 1), (40, 40), (90, 3), (300, 120), (129, 1)];
        let case = Case {
            heads: 6,
            kv_heads: 2,
            head_dim: 32,
            window: Some(window),
            dtype: DType::BF16,
            rows,
        };
        check(&case, 4);
    }
}

#[test]
fn a_contradicting_batch_is_refused() {
    let cache = KvCacheLayer::zeros(4, 16, 1, 2, DType::F32, &Device::Cpu).unwrap();
    let qkv = matrix(&[0.0; 18], 3, 6);
    let out = matrix(&[0.0; 6], 3, 2);
    let run = |starts: &[u32], contexts: &[u32], table: &[u32]| {
        let blocks = table.len() / contexts.len();
        let batch = AttentionBatch {
            query_starts: integers(starts),
            context_lens: integers(contexts),
            block_tables: Tensor::from_slice(table, (contexts.len(), blocks), &Device::Cpu)
                .unwrap(),
            max_queries: 3,
        };
        message(paged_attention(&out, &qkv, &cache, &batch, 1, 1.0, None))
    };
    assert!(run(&[0, 4], &[9], &[0]).contains("queries 0..4 of 3"));
    assert!(run(&[0, 3], &[2], &[0]).contains("in a context of 2"));
    assert!(run(&[0, 2, 1], &[9, 9], &[0, 1]).contains("queries 2..1"));
    assert!(run(&[1, 3], &[9], &[0]).contains("query_starts must be 0"));
    assert!(run(&[0, 3], &[17], &[0]).contains("don't fit 1 blocks"));
    assert!(run(&[0, 3], &[9], &[4]).contains("block 4 is outside"));
    let batch = AttentionBatch {
        query_starts: integers(&[0, 3]),
        context_lens: integers(&[3]),
        block_tables: Tensor::zeros((1, 1), DType::U32, &Device::Cpu).unwrap(),
        max_queries: 3,
    };
    assert!(
        message(paged_attention(&out, &qkv, &cache, &batch, 2, 1.0, None)).contains("don't fit")
    );
}
