//! No level of instructions is far slower than its neighbours. A kernel whose helpers are not
//! inlined is compiled without the level's instructions: it computes the same, about thirty times
//! slower. The test compares the best of many short runs with wide bounds, so that other load on
//! the machine does not matter.
#![allow(clippy::unwrap_used, clippy::panic, unreachable_pub)]

mod reference;

use std::time::Instant;

use candle_core::{DType, Device, Tensor};
use farthing_ops::{
    Accumulate, AttentionBatch, BLOCK_SIZE, KvCacheLayer, RopeFactors, RopeTable, SampleSpec,
    SimdLevel, linear, paged_attention, rms_norm, rope_and_cache, sample, silu_mul,
    with_simd_level,
};
use reference::{Random, matrix, vector, weight};

/// Maximum ratio of a neighbour's speed to the operation's.
const FAR: f64 = 2.0;

const ROUNDS: usize = 60;

/// An operation on small operands, and the work that it does.
struct Case {
    name: String,
    work: f64,
    run: Box<dyn Fn()>,
}

/// Work per second of each case at each level.
fn rates(cases: &[Case]) -> Vec<(SimdLevel, Vec<f64>)> {
    let mut rates: Vec<_> = SimdLevel::available()
        .into_iter()
        .map(|level| (level, vec![0.0_f64; cases.len()]))
        .collect();
    // All cases take turns, so that other load on the machine affects all of them.
    for _ in 0..ROUNDS {
        for (level, rates) in &mut rates {
            with_simd_level(*level, || {
                for (case, rate) in cases.iter().zip(rates) {
                    let started = Instant::now();
                    (case.run)();
                    *rate = rate.max(case.work / started.elapsed().as_secs_f64());
                }
            });
        }
    }
    rates
}

/// Products with one row, with some and with many.
fn products(dtype: DType) -> Vec<Case> {
    const FEATURES: usize = 384;
    let mut random = Random(1);
    let w = random.exact(FEATURES * FEATURES, dtype);
    let weight = weight(&w, FEATURES, FEATURES, dtype);
    let product = |rows: usize| {
        let x = matrix(&random.values(rows * FEATURES), rows, FEATURES);
        let out = Tensor::zeros((rows, FEATURES), DType::F32, &Device::Cpu).unwrap();
        let weight = weight.clone();
        Case {
            name: format!("linear of {rows} rows in {dtype:?}"),
            work: (2 * rows * FEATURES * FEATURES) as f64,
            run: Box::new(move || linear(&out, &x, &weight, Accumulate::Overwrite).unwrap()),
        }
    };
    [1, 2, 3, 4, 5, 6, 8, 48].map(product).into()
}

fn attention(name: &str, rows: usize, queries: usize) -> Case {
    const CONTEXT: usize = 96;
    const HEADS: usize = 6;
    const KV_HEADS: usize = 2;
    const HEAD_DIM: usize = 64;
    let blocks = CONTEXT / BLOCK_SIZE;
    let cache = KvCacheLayer::zeros(
        rows * blocks,
        BLOCK_SIZE,
        KV_HEADS,
        HEAD_DIM,
        DType::BF16,
        &Device::Cpu,
    );
    let cache = cache.unwrap();
    let integers = |values: Vec<u32>| {
        let len = values.len();
        Tensor::from_vec(values, len, &Device::Cpu).unwrap()
    };
    let batch = AttentionBatch {
        query_starts: integers((0..=rows).map(|row| (row * queries) as u32).collect()),
        context_lens: integers(vec![CONTEXT as u32; rows]),
        block_tables: integers((0..(rows * blocks) as u32).collect())
            .reshape((rows, blocks))
            .unwrap(),
        max_queries: queries,
    };
    let tokens = rows * queries;
    let row_len = (HEADS + 2 * KV_HEADS) * HEAD_DIM;
    let qkv = matrix(&Random(2).values(tokens * row_len), tokens, row_len);
    let out = Tensor::zeros((tokens, HEADS * HEAD_DIM), DType::F32, &Device::Cpu).unwrap();
    Case {
        name: name.to_owned(),
        work: (4 * tokens * CONTEXT * HEADS * HEAD_DIM) as f64,
        run: Box::new(move || {
            paged_attention(&out, &qkv, &cache, &batch, HEADS, 0.125, None).unwrap();
        }),
    }
}

fn others() -> Vec<Case> {
    const ROWS: usize = 16;
    const COLUMNS: usize = 768;
    let mut random = Random(3);
    let x = matrix(&random.values(ROWS * COLUMNS), ROWS, COLUMNS);
    let normed = x.copy().unwrap();
    let norm = vector(&random.values(COLUMNS));
    let gate_up = matrix(&random.values(2 * ROWS * COLUMNS), ROWS, 2 * COLUMNS);
    let activated = x.copy().unwrap();
    let rope = RopeTable::new(&[0.1; 32], 64, RopeFactors::NONE, &Device::Cpu).unwrap();
    let cache = KvCacheLayer::zeros(1, BLOCK_SIZE, 3, 64, DType::BF16, &Device::Cpu).unwrap();
    let qkv = matrix(&random.values(ROWS * COLUMNS), ROWS, COLUMNS);
    let positions = Tensor::from_vec((0..ROWS as u32).collect(), ROWS, &Device::Cpu).unwrap();
    let logits: Vec<f32> = random.values(16_384).iter().map(|x| 6.0 * x).collect();
    let logits = matrix(&logits, 1, logits.len());
    let top_p = SampleSpec {
        top_p: 0.9,
        ..SampleSpec::PLAIN
    };
    let case = |name: &str, run: Box<dyn Fn()>| Case {
        name: name.to_owned(),
        work: 1.0,
        run,
    };
    vec![
        case(
            "rms_norm",
            Box::new(move || rms_norm(&normed, &x, &norm, 1e-5).unwrap()),
        ),
        case(
            "silu_mul",
            Box::new(move || silu_mul(&activated, &gate_up).unwrap()),
        ),
        case(
            "rope_and_cache",
            Box::new(move || {
                rope_and_cache(&qkv, &rope, &positions, &positions, &cache, 6).unwrap();
            }),
        ),
        case(
            "sample",
            Box::new(move || {
                sample(&logits, std::slice::from_ref(&top_p)).unwrap();
            }),
        ),
    ]
}

/// Whether speeds are meaningful: without optimisation nothing is inlined.
fn is_optimised() -> bool {
    if cfg!(debug_assertions) {
        println!("skipped: a build without optimisation has no speed to compare");
    }
    !cfg!(debug_assertions)
}

#[test]
fn more_rows_are_not_far_slower_than_one() {
    if !is_optimised() {
        return;
    }
    for dtype in [DType::BF16, DType::F32] {
        let cases = products(dtype);
        for (level, rates) in rates(&cases) {
            for (case, rate) in cases.iter().zip(&rates).skip(1) {
                let one = rates[0];
                assert!(
                    rate * FAR >= one,
                    "{level}: {} computes {:.2} GFLOP/s, one row {:.2}",
                    case.name,
                    rate / 1e9,
                    one / 1e9
                );
            }
        }
    }
}

#[test]
fn no_level_is_far_slower_than_the_one_below() {
    if !is_optimised() {
        return;
    }
    let mut cases = products(DType::BF16);
    cases.extend(products(DType::F32));
    cases.push(attention("attention of a decode step", 4, 1));
    cases.push(attention("attention of a prompt", 1, 96));
    cases.extend(others());
    let rates = rates(&cases);
    for pair in rates.windows(2) {
        let [(lower, slow), (level, fast)] = pair else {
            continue;
        };
        for ((case, slow), fast) in cases.iter().zip(slow).zip(fast) {
            assert!(
                fast * FAR >= *slow,
                "{}: {level} has {:.3} of the speed of {lower}",
                case.name,
                fast / slow
            );
        }
    }
}
