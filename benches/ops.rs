//! Times every operation at the shapes of SmolLM2-135M and compares it with the machine's limits.
//!
//! `cargo bench -p farthing-benches --bench ops [-- part of a name] [--simd-level=avx2]`. A figure
//! is the best of several passes, since other programs may use the machine. The percentage refers
//! to the limit that binds the operation: memory for one sequence, arithmetic for many.

use std::time::Instant;

use candle_core::{DType, Device, Result, Tensor};
use farthing_ops::{
    Accumulate, AttentionBatch, KvCacheLayer, Limits, LinearWeight, LinearWeightBuilder,
    LoraExpand, LoraSegment, LoraWeight, RopeFactors, RopeTable, SampleSpec, SimdLevel, add,
    add_bias, embed, gather_rows, head_norm, linear, lora, num_threads, paged_attention,
    philox4x32, rms_norm, rope_and_cache, sample, silu_mul, use_simd_level,
};

const HIDDEN: usize = 576;
const INTERMEDIATE: usize = 1536;
const LAYERS: usize = 30;
const HEADS: usize = 9;
const KV_HEADS: usize = 3;
const HEAD_DIM: usize = 64;
const QKV: usize = (HEADS + 2 * KV_HEADS) * HEAD_DIM;
const VOCAB: usize = 49152;
const ROWS: [usize; 4] = [1, 8, 32, 512];

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let level = arguments
        .iter()
        .find_map(|argument| argument.strip_prefix("--simd-level="));
    if let Some(level) = level {
        use_simd_level(level.parse().map_err(candle_core::Error::msg)?)?;
    }
    let limits = Limits::measure();
    println!(
        "{}, {} threads: reads {:.1} GB/s, multiplies {:.0} GFLOP/s",
        SimdLevel::current(),
        num_threads(),
        limits.read_bytes_per_second / 1e9,
        limits.flops / 1e9
    );
    let only = arguments
        .iter()
        .find(|argument| !argument.starts_with("--"));
    let wanted = |name: &str| only.is_none_or(|only| name.contains(only.as_str()));
    if wanted("linear") {
        bench_linear(limits)?;
    }
    if wanted("lora") {
        bench_lora()?;
    }
    if wanted("attention") {
        bench_attention(limits)?;
    }
    if wanted("elementwise") {
        bench_elementwise(limits)?;
    }
    if wanted("sample") {
        bench_sample(limits)?;
    }
    Ok(())
}

/// Seconds of the best pass of `f`, which makes `calls` calls.
fn best_seconds(calls: usize, mut f: impl FnMut() -> Result<()>) -> Result<f64> {
    let mut best = f64::INFINITY;
    let started = Instant::now();
    let mut passes = 0;
    while passes < 5 || started.elapsed().as_secs_f64() < 0.4 {
        let start = Instant::now();
        f()?;
        best = best.min(start.elapsed().as_secs_f64() / calls as f64);
        passes += 1;
    }
    Ok(best)
}

fn line(name: &str, seconds: f64, bytes: f64, flops: f64, limits: Limits) {
    let memory = bytes / limits.read_bytes_per_second / seconds;
    let arithmetic = flops / limits.flops / seconds;
    println!(
        "{name:<44} {:>10.1} µs {:>7.1} GB/s {:>4.0} % {:>7.1} GFLOP/s {:>4.0} %",
        seconds * 1e6,
        bytes / seconds / 1e9,
        memory * 100.0,
        flops / seconds / 1e9,
        arithmetic * 100.0
    );
}

fn values(len: usize) -> Vec<f32> {
    (0..len)
        .map(|i| ((i * 7919 % 1009) as f32 - 504.0) / 5040.0)
        .collect()
}

fn matrix(rows: usize, columns: usize) -> Result<Tensor> {
    Tensor::from_vec(values(rows * columns), (rows, columns), &Device::Cpu)
}

fn integers(values: Vec<u32>) -> Result<Tensor> {
    let len = values.len();
    Tensor::from_vec(values, len, &Device::Cpu)
}

fn weight(out_features: usize, in_features: usize) -> Result<LinearWeight> {
    let mut builder =
        LinearWeightBuilder::new(out_features, in_features, DType::BF16, &Device::Cpu)?;
    let row = values(in_features);
    for _ in 0..out_features {
        builder.push_rows(&row)?;
    }
    builder.finish()
}

fn bench_linear(limits: Limits) -> Result<()> {
    let shapes = [
        ("qkv", QKV, HIDDEN, LAYERS),
        ("o", HIDDEN, HIDDEN, LAYERS),
        ("gate_up", 2 * INTERMEDIATE, HIDDEN, LAYERS),
        ("down", HIDDEN, INTERMEDIATE, LAYERS),
        ("lm_head", VOCAB, HIDDEN, 1),
    ];
    let weights: Result<Vec<Vec<LinearWeight>>> = shapes
        .iter()
        .map(|(_, out_features, in_features, count)| {
            (0..*count)
                .map(|_| weight(*out_features, *in_features))
                .collect()
        })
        .collect();
    let weights = weights?;
    for m in ROWS {
        let operands: Result<Vec<(Tensor, Tensor)>> = shapes
            .iter()
            .map(|(name, out_features, in_features, _)| {
                // A prompt needs the logits of its last token only.
                let m = if *name == "lm_head" && m == 512 { 1 } else { m };
                Ok((matrix(m, *in_features)?, matrix(m, *out_features)?))
            })
            .collect();
        let operands = operands?;
        // In the order of a model, so that weights are read from memory.
        let mut best = [f64::INFINITY; 5];
        let started = Instant::now();
        for pass in 0.. {
            if pass >= 3 && started.elapsed().as_secs_f64() > 1.0 {
                break;
            }
            for layer in 0..LAYERS {
                for (shape, copies) in weights.iter().enumerate() {
                    if let Some(weight) = copies.get(layer) {
                        let (x, out) = &operands[shape];
                        let start = Instant::now();
                        linear(out, x, weight, Accumulate::Overwrite)?;
                        best[shape] = best[shape].min(start.elapsed().as_secs_f64());
                    }
                }
            }
        }
        let mut step = (0.0, 0.0, 0.0);
        for (shape, (name, out_features, in_features, count)) in shapes.iter().enumerate() {
            let m = operands[shape].0.dims()[0];
            let bytes = weights[shape][0].size_bytes() as f64;
            let flops = 2.0 * (m * out_features * in_features) as f64;
            let label = format!("linear {name} {m} × [{out_features}, {in_features}]");
            line(&label, best[shape], bytes, flops, limits);
            let count = *count as f64;
            step = (
                step.0 + best[shape] * count,
                step.1 + bytes * count,
                step.2 + flops * count,
            );
        }
        line(
            &format!("linear, whole model, {m} rows"),
            step.0,
            step.1,
            step.2,
            limits,
        );
    }
    Ok(())
}

fn bench_lora() -> Result<()> {
    let rank = 16;
    let adapters: Result<Vec<_>> = (0..8)
        .map(|_| {
            let expand = |out_features, index| {
                let weight = weight(out_features, rank)?;
                Ok(LoraExpand {
                    weight,
                    shrink_offset: index * rank,
                    out_offset: index * INTERMEDIATE,
                })
            };
            let expand: Result<Vec<_>> = (0..2).map(|i| expand(INTERMEDIATE, i)).collect();
            Ok(LoraWeight {
                shrink: weight(2 * rank, HIDDEN)?,
                expand: expand?,
                gain: None,
                bias: None,
            })
        })
        .collect();
    let adapters = adapters?;
    for (m, count) in [(1, 1), (8, 8), (32, 1), (32, 8), (512, 1)] {
        let (x, out) = (matrix(m, HIDDEN)?, matrix(m, 2 * INTERMEDIATE)?);
        let segments: Vec<_> = (0..count)
            .map(|i| LoraSegment {
                rows: m / count * i..m / count * (i + 1),
                weight: &adapters[i],
            })
            .collect();
        let seconds = best_seconds(1, || lora(&out, &x, &segments))?;
        println!(
            "{:<44} {:>10.1} µs",
            format!("lora gate_up r {rank}, {m} rows of {count}"),
            seconds * 1e6
        );
    }
    Ok(())
}

fn bench_attention(limits: Limits) -> Result<()> {
    // (rows, queries of a row, context)
    for (rows, queries, context) in [
        (1, 1, 128),
        (1, 1, 2048),
        (8, 1, 512),
        (32, 1, 512),
        (1, 512, 512),
        (1, 512, 2048),
    ] {
        let blocks = context / 16;
        let caches: Result<Vec<_>> = (0..LAYERS)
            .map(|_| {
                KvCacheLayer::zeros(
                    rows * blocks,
                    16,
                    KV_HEADS,
                    HEAD_DIM,
                    DType::BF16,
                    &Device::Cpu,
                )
            })
            .collect();
        let caches = caches?;
        let m = rows * queries;
        let batch = AttentionBatch {
            query_starts: integers((0..=rows).map(|row| (row * queries) as u32).collect())?,
            context_lens: integers(vec![context as u32; rows])?,
            block_tables: integers((0..(rows * blocks) as u32).collect())?
                .reshape((rows, blocks))?,
            max_queries: queries,
        };
        let (qkv, out) = (matrix(m, QKV)?, matrix(m, HEADS * HEAD_DIM)?);
        // Each layer has its own cache, so that keys and values are read from memory.
        let mut layers = caches.iter().cycle();
        let seconds = best_seconds(1, || match layers.next() {
            Some(cache) => paged_attention(&out, &qkv, cache, &batch, HEADS, 0.125, None),
            None => Ok(()),
        })?;
        let seen = (context - queries) as f64 + (queries as f64 + 1.0) / 2.0;
        let flops = 4.0 * (m * HEADS * HEAD_DIM) as f64 * seen;
        let name = format!("paged_attention {rows} × {queries} of {context}");
        line(&name, seconds, caches[0].size_bytes() as f64, flops, limits);
    }
    Ok(())
}

fn bench_elementwise(limits: Limits) -> Result<()> {
    let inv_freq: Vec<f32> = (0..HEAD_DIM / 2).map(|i| 0.5_f32.powi(i as i32)).collect();
    let rope = RopeTable::new(&inv_freq, 2048, RopeFactors::NONE, &Device::Cpu)?;
    let cache = KvCacheLayer::zeros(64, 16, KV_HEADS, HEAD_DIM, DType::BF16, &Device::Cpu)?;
    let norm = Tensor::from_vec(values(HIDDEN), HIDDEN, &Device::Cpu)?;
    let head_weight = Tensor::from_vec(values(HEAD_DIM), HEAD_DIM, &Device::Cpu)?;
    let bias = Tensor::from_vec(values(QKV), QKV, &Device::Cpu)?;
    let table = weight(VOCAB, HIDDEN)?;
    for m in ROWS {
        let (x, out) = (matrix(m, HIDDEN)?, matrix(m, HIDDEN)?);
        let (gate_up, activated) = (matrix(m, 2 * INTERMEDIATE)?, matrix(m, INTERMEDIATE)?);
        let qkv = matrix(m, QKV)?;
        let ids = integers((0..m as u32).map(|i| i * 7919 % VOCAB as u32).collect())?;
        let slots = integers((0..m as u32).collect())?;
        let repeat = 100;
        let bench = |name: &str, bytes: usize, f: &dyn Fn() -> Result<()>| {
            let seconds = best_seconds(repeat, || (0..repeat).try_for_each(|_| f()))?;
            line(
                &format!("{name} {m} rows"),
                seconds,
                (bytes * m) as f64,
                0.0,
                limits,
            );
            Ok::<_, candle_core::Error>(())
        };
        bench("rms_norm", 8 * HIDDEN, &|| rms_norm(&out, &x, &norm, 1e-5))?;
        bench("silu_mul", 12 * INTERMEDIATE, &|| {
            silu_mul(&activated, &gate_up)
        })?;
        bench("rope_and_cache", 8 * QKV, &|| {
            rope_and_cache(&qkv, &rope, &slots, &slots, &cache, HEADS)
        })?;
        bench("embed", 6 * HIDDEN, &|| embed(&out, &ids, &table))?;
        bench("add", 12 * HIDDEN, &|| add(&out, &x))?;
        bench("add_bias", 8 * QKV, &|| add_bias(&qkv, &bias))?;
        bench("head_norm", 8 * QKV, &|| {
            head_norm(&qkv, &head_weight, &head_weight, HEADS, 1e-5)
        })?;
        bench("gather_rows", 8 * HIDDEN, &|| gather_rows(&out, &x, &slots))?;
    }
    Ok(())
}

fn bench_sample(limits: Limits) -> Result<()> {
    let plain = SampleSpec {
        seed: 1,
        ..SampleSpec::PLAIN
    };
    let specs = [
        (
            "greedy",
            SampleSpec {
                temperature: 0.0,
                ..plain.clone()
            },
        ),
        ("plain", plain.clone()),
        (
            "top-p 0.9",
            SampleSpec {
                top_p: 0.9,
                ..plain.clone()
            },
        ),
        (
            "top-k 50",
            SampleSpec {
                top_k: 50,
                ..plain.clone()
            },
        ),
        (
            "greedy, 5 logprobs",
            SampleSpec {
                temperature: 0.0,
                logprobs: Some(5),
                ..plain.clone()
            },
        ),
    ];
    for m in [1, 8, 32] {
        let logits = Tensor::from_vec(logits(m * VOCAB), (m, VOCAB), &Device::Cpu)?;
        for (name, spec) in &specs {
            let specs = vec![spec.clone(); m];
            let seconds = best_seconds(1, || sample(&logits, &specs).map(drop))?;
            line(
                &format!("sample {name}, {m} rows"),
                seconds,
                (m * VOCAB * 4) as f64,
                0.0,
                limits,
            );
        }
        // The most work: top-p keeps most tokens, and all weights differ.
        let flat: Vec<f32> = (0..m * VOCAB)
            .map(|i| (i * 7919 % VOCAB) as f32 / VOCAB as f32)
            .collect();
        let flat = Tensor::from_vec(flat, (m, VOCAB), &Device::Cpu)?;
        let top_p = SampleSpec {
            top_p: 0.9,
            ..plain.clone()
        };
        let specs = vec![top_p; m];
        let seconds = best_seconds(1, || sample(&flat, &specs).map(drop))?;
        line(
            &format!("sample top-p 0.9 of a flat row, {m} rows"),
            seconds,
            (m * VOCAB * 4) as f64,
            0.0,
            limits,
        );
    }
    Ok(())
}

/// Logits with a realistic distribution: a bell curve and a tail of likely tokens, which have most
/// of the probability.
fn logits(len: usize) -> Vec<f32> {
    let uniform = |i: usize, k: u32| {
        let word = philox4x32([i as u32, k, 0, 0], [1, 2])[0];
        (f64::from(word) + 0.5) / f64::from(u32::MAX)
    };
    let logit = |i| {
        let bell = (0..12).map(|k| uniform(i, k)).sum::<f64>() - 6.0;
        let tail = if uniform(i, 12) < 1e-3 {
            -3.0 * uniform(i, 13).ln() + 6.0
        } else {
            0.0
        };
        (2.0 * bell + tail) as f32
    };
    (0..len).map(logit).collect()
}
