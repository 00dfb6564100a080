//! Measures the speed of each operation relative to the device's limits.

mod rotation;

use std::{collections::HashMap, rc::Rc};

use candle_core::{DType, Tensor};
use farthing_ops::{
    Accumulate, AttentionBatch, DeviceSampler, LinearWeight, ListCapacity, LoraStack,
    LoraStackShape, RopeFactors, RopeTable, SampleSpec, SimdLevel, embed, linear, lora_expand,
    lora_shrink, move_together, paged_attention, rms_norm, rope_and_cache, sample, silu_mul,
    with_simd_level,
};

use self::rotation::Rotation;
use crate::device_limits::DeviceLimits;
use crate::op_rate::{OpRate, RateBelow};
use crate::shape::Shape;
use crate::side::{Random, Side};
use crate::slow::{SlowOp, slow_beside};
use crate::timing::seconds;
use farthing_model::{BLOCK_SIZE, DeviceKind, ModelError};

const HEADING: &str =
    "operation                                       time        GB/s    TFLOP/s   share";

/// The layer whose operations are timed.
struct Layer {
    hidden: usize,
    intermediate: usize,
    heads: usize,
    kv_heads: usize,
    head_dim: usize,
    vocab: usize,
    /// Rows of decode steps.
    rows: &'static [usize],
    context: usize,
    /// Tokens of the prompt.
    prompt: usize,
}

/// The layer of Mistral-7B.
const LARGE: Layer = Layer {
    hidden: 4096,
    intermediate: 14336,
    heads: 32,
    kv_heads: 8,
    head_dim: 128,
    vocab: 32_768,
    rows: &[1, 8, 64, 256],
    context: 1024,
    prompt: 2048,
};

/// Small enough for an emulated device.
const TINY: Layer = Layer {
    hidden: 128,
    intermediate: 256,
    heads: 4,
    kv_heads: 2,
    head_dim: 64,
    vocab: 1024,
    rows: &[1, 3],
    context: 40,
    prompt: 40,
};

/// The layer of SmolLM2-135M, for a CPU.
const SMALL: Layer = Layer {
    hidden: 576,
    intermediate: 1536,
    heads: 9,
    kv_heads: 3,
    head_dim: 64,
    vocab: 49_152,
    rows: &[1, 8],
    context: 256,
    prompt: 128,
};

/// An operation that seems far too slow is timed again, since other processes may use the machine.
const RETRIES: usize = 3;

/// Times every operation and reports each as soon as it is known. Also returns those that are far
/// too slow.
pub(super) fn measure(
    device: DeviceKind,
    shape: Shape,
    only: Option<&str>,
    limits: &DeviceLimits,
    say: &mut dyn FnMut(String),
) -> Result<(Vec<OpRate>, Vec<SlowOp>), ModelError> {
    say(format!("\n{HEADING}"));
    let side = Side::tested(device)?;
    let layer = match shape {
        Shape::Tiny => TINY,
        Shape::Small => SMALL,
        Shape::Mistral7b => LARGE,
        Shape::Llama8b => Layer {
            vocab: 128_256,
            ..LARGE
        },
    };
    let mut bench = Bench {
        side,
        only,
        limits,
        say,
        rates: Vec::new(),
        slow: Vec::new(),
        weights: HashMap::new(),
    };
    for rows in layer.rows {
        bench.decode(&layer, *rows)?;
    }
    bench.prompt(&layer)?;
    Ok((bench.rates, bench.slow))
}

struct Bench<'a> {
    side: Side,
    /// Time only operations with this in their name.
    only: Option<&'a str>,
    limits: &'a DeviceLimits,
    say: &'a mut dyn FnMut(String),
    rates: Vec<OpRate>,
    slow: Vec<SlowOp>,
    /// By numbers of outputs and inputs.
    weights: HashMap<(usize, usize), Rc<Rotation<LinearWeight>>>,
}

impl Bench<'_> {
    fn time(
        &mut self,
        op: String,
        bytes: usize,
        flops: usize,
        f: impl Fn() -> Result<(), ModelError>,
    ) -> Result<(), ModelError> {
        if self.only.is_some_and(|only| !op.contains(only)) {
            return Ok(());
        }
        let (bytes, flops) = (bytes as f64, flops as f64);
        let below = self.below(&f)?;
        let rate = |seconds: f64| OpRate {
            op: op.clone(),
            seconds,
            bytes_per_second: bytes / seconds,
            flops: flops / seconds,
            share: self.limits.least_seconds(bytes, flops) / seconds,
            below: below.clone(),
        };
        let mut least = seconds(&self.side.device, &f)?;
        for _ in 0..RETRIES {
            if slow_beside(&rate(least), &self.rates).is_none() {
                break;
            }
            least = least.min(seconds(&self.side.device, &f)?);
        }
        let rate = rate(least);
        (self.say)(rate.to_string());
        self.slow.extend(slow_beside(&rate, &self.rates));
        self.rates.push(rate);
        Ok(())
    }

    /// The operation at the next lower level of instructions, on the CPU.
    fn below(
        &self,
        f: impl Fn() -> Result<(), ModelError>,
    ) -> Result<Option<RateBelow>, ModelError> {
        let lower = SimdLevel::available()
            .into_iter()
            .take_while(|level| *level != SimdLevel::current())
            .last();
        let level = match (self.side.kind, lower) {
            (DeviceKind::Cpu, Some(level)) => level,
            _ => return Ok(None),
        };
        Ok(Some(RateBelow {
            level: level.to_string(),
            seconds: with_simd_level(level, || seconds(&self.side.device, f))?,
        }))
    }

    /// Enough copies of a weight that none is in a cache when it is used, as in a step of a whole
    /// model.
    fn weights(
        &mut self,
        out_features: usize,
        in_features: usize,
    ) -> Result<Rc<Rotation<LinearWeight>>, ModelError> {
        if let Some(made) = self.weights.get(&(out_features, in_features)) {
            return Ok(made.clone());
        }
        let values = Random::new(1).values(out_features * in_features);
        let bytes = 2 * values.len();
        let copies = Rotation::<LinearWeight>::copies(self.side.kind, bytes);
        let copies = (0..copies).map(|_| self.side.weight(&values, in_features));
        let mut copies = copies.collect::<Result<Vec<_>, _>>()?;
        // As a model's weights lie.
        move_together(&mut copies)?;
        let rotation = Rc::new(Rotation::of(copies));
        self.weights
            .insert((out_features, in_features), rotation.clone());
        Ok(rotation)
    }

    /// Every operation of a decode step with `rows` rows.
    fn decode(&mut self, layer: &Layer, rows: usize) -> Result<(), ModelError> {
        let side = self.side.clone();
        let size = side.room(1, 1)?.dtype().size_in_bytes();
        let Layer {
            hidden,
            intermediate,
            heads,
            kv_heads,
            head_dim,
            vocab,
            context,
            ..
        } = *layer;
        let random = |rows: usize, columns: usize| {
            side.activations(&Random::new(2).values(rows * columns), columns)
        };
        let (x, normed) = (random(rows, hidden)?, random(rows, hidden)?);
        let norm = side.vector(&vec![1.0; hidden])?;
        let name = |op: &str| format!("{op}, {rows} rows");
        let ids = side.integers(&vec![7; rows])?;

        let table = self.weights(vocab, hidden)?;
        self.time(name("embed"), 2 * rows * hidden * size, 0, || {
            Ok(embed(&x, &ids, table.next())?)
        })?;
        self.time(name("rms_norm"), 2 * rows * hidden * size, 0, || {
            Ok(rms_norm(&normed, &x, &norm, 1e-5)?)
        })?;
        let row_len = (heads + 2 * kv_heads) * head_dim;
        let qkv = random(rows, row_len)?;
        let projections = [
            ("qkv", row_len, hidden),
            ("o", hidden, heads * head_dim),
            ("gate_up", 2 * intermediate, hidden),
            ("down", hidden, intermediate),
        ];
        for (what, out_features, in_features) in projections {
            let weight = self.weights(out_features, in_features)?;
            let (x, out) = (random(rows, in_features)?, random(rows, out_features)?);
            let moved = (in_features + out_features) * rows * size;
            let op = name(&format!("linear {what}"));
            let flops = 2 * rows * in_features * out_features;
            self.time(op, weight.next().size_bytes() + moved, flops, || {
                Ok(linear(&out, &x, weight.next(), Accumulate::Overwrite)?)
            })?;
        }
        let logits = Tensor::zeros((rows, vocab), DType::F32, &side.device)?;
        let moved = rows * (hidden * size + vocab * 4);
        let flops = 2 * rows * hidden * vocab;
        self.time(
            name("linear lm_head"),
            table.next().size_bytes() + moved,
            flops,
            || {
                Ok(linear(
                    &logits,
                    &normed,
                    table.next(),
                    Accumulate::Overwrite,
                )?)
            },
        )?;

        let blocks = context.div_ceil(BLOCK_SIZE);
        let read = rows * context * 2 * kv_heads * head_dim * 2;
        let copies = Rotation::<Tensor>::copies(side.kind, read);
        let cache = side.cache(copies * rows * blocks, kv_heads, head_dim)?;
        let rope = RopeTable::new(
            &vec![0.01; head_dim / 2],
            context,
            RopeFactors::NONE,
            &side.device,
        )?;
        let positions = side.integers(&vec![context as u32 - 1; rows])?;
        let slots: Vec<u32> = (0..rows)
            .map(|row| ((row + 1) * blocks * BLOCK_SIZE - 1) as u32)
            .collect();
        let slots = side.integers(&slots)?;
        let moved = rows * (2 * heads * head_dim + 4 * kv_heads * head_dim) * size;
        self.time(name("rope_and_cache"), moved, 0, || {
            Ok(rope_and_cache(
                &qkv, &rope, &positions, &slots, &cache, heads,
            )?)
        })?;
        let batches = Rotation::new(side.kind, read, |copy| {
            let first = (copy * rows * blocks) as u32;
            let blocks_of_rows: Vec<u32> = (first..first + (rows * blocks) as u32).collect();
            Ok(AttentionBatch {
                query_starts: side.integers(&(0..=rows as u32).collect::<Vec<_>>())?,
                context_lens: side.integers(&vec![context as u32; rows])?,
                block_tables: side.integers(&blocks_of_rows)?.reshape((rows, blocks))?,
                max_queries: 1,
            })
        })?;
        let out = random(rows, heads * head_dim)?;
        let flops = 4 * rows * context * heads * head_dim;
        let scale = 1.0 / (head_dim as f32).sqrt();
        self.time(
            format!("paged_attention, {rows} × {context}"),
            read,
            flops,
            || {
                Ok(paged_attention(
                    &out,
                    &qkv,
                    &cache,
                    batches.next(),
                    heads,
                    scale,
                    None,
                )?)
            },
        )?;
        let (gate_up, activated) = (random(rows, 2 * intermediate)?, random(rows, intermediate)?);
        self.time(name("silu_mul"), 3 * rows * intermediate * size, 0, || {
            Ok(silu_mul(&activated, &gate_up)?)
        })?;
        if !matches!(side.kind, DeviceKind::Cpu) {
            self.lora(layer, rows)?;
        }
        self.sample(&logits, rows, vocab)
    }

    /// Eight adapters of rank 16 on the widest projection, on a GPU.
    fn lora(&mut self, layer: &Layer, rows: usize) -> Result<(), ModelError> {
        const SLOTS: usize = 8;
        const RANK: usize = 16;
        let side = self.side.clone();
        let columns = 2 * layer.intermediate;
        let x = side.activations(&vec![0.5; rows * layer.hidden], layer.hidden)?;
        let out = side.activations(&vec![0.5; rows * columns], columns)?;
        let shape = LoraStackShape {
            slots: SLOTS,
            in_features: layer.hidden,
            targets: vec![layer.intermediate; 2],
            max_rank: RANK,
        };
        let used = SLOTS.min(rows);
        let adapters = (0..used).map(|slot| (slot, rows * slot / used..rows * (slot + 1) / used));
        let rows_of = side.lora_rows(std::slice::from_ref(&shape), adapters, rows)?;
        let slots_bytes = used * shape.slot_bytes();
        let bytes = slots_bytes + rows * (layer.hidden + 2 * columns) * 2;
        let weight = farthing_ops::LoraWeight {
            shrink: side.adapter_weight(&vec![0.1; 2 * RANK * layer.hidden], layer.hidden)?,
            expand: (0..2)
                .map(|target| {
                    Ok(farthing_ops::LoraExpand {
                        weight: side.adapter_weight(&vec![0.1; layer.intermediate * RANK], RANK)?,
                        shrink_offset: target * RANK,
                        out_offset: target * layer.intermediate,
                    })
                })
                .collect::<Result<_, ModelError>>()?,
            gain: None,
            bias: None,
        };
        let stacks = Rotation::new(side.kind, slots_bytes, |_| {
            let stack = LoraStack::new(shape.clone(), DType::BF16, &side.device)?;
            (0..used).try_for_each(|slot| stack.fill(slot, Some(&weight)))?;
            Ok(stack)
        })?;
        let flops = 2 * rows * RANK * (2 * layer.hidden + columns);
        self.time(
            format!("lora gate_up, {rows} rows of {used}"),
            bytes,
            flops,
            || {
                let stack = stacks.next();
                lora_shrink(&x, stack, &rows_of)?;
                Ok(lora_expand(&out, stack, &rows_of)?)
            },
        )
    }

    fn sample(&mut self, logits: &Tensor, rows: usize, vocab: usize) -> Result<(), ModelError> {
        let side = self.side.clone();
        let spec = SampleSpec {
            temperature: 0.2,
            top_p: 0.9,
            seed: 1,
            ..SampleSpec::PLAIN
        };
        let specs = vec![spec; rows];
        let peaked = peaked_logits(rows * vocab);
        let logits = side.vector(&peaked)?.reshape(logits.shape())?;
        let name = format!("sample T 0.2, top_p 0.9, {rows} rows");
        let bytes = rows * vocab * 4;
        match side.kind {
            DeviceKind::Cpu => self.time(name, bytes, 0, || {
                sample(&logits, &specs)?;
                Ok(())
            }),
            DeviceKind::Cuda(_) => {
                let none = ListCapacity {
                    history: 0,
                    bias: 0,
                };
                let mut sampler = DeviceSampler::new(rows, vocab, none, &side.device)?;
                let mut parameters = vec![0; rows * DeviceSampler::PARAMETER_WORDS];
                sampler.stage(&specs, &mut parameters)?;
                let parameters = side.integers(&parameters)?;
                self.time(name, bytes, 0, || Ok(sampler.launch(&logits, &parameters)?))
            }
        }
    }

    /// The operations that dominate a prompt.
    fn prompt(&mut self, layer: &Layer) -> Result<(), ModelError> {
        let side = self.side.clone();
        let Layer {
            hidden,
            intermediate,
            heads,
            kv_heads,
            head_dim,
            prompt: tokens,
            ..
        } = *layer;
        let size = side.room(1, 1)?.dtype().size_in_bytes();
        let random = |rows: usize, columns: usize| {
            side.activations(&Random::new(4).values(rows * columns), columns)
        };
        let weight = self.weights(2 * intermediate, hidden)?;
        let (x, out) = (random(tokens, hidden)?, random(tokens, 2 * intermediate)?);
        let moved = (hidden + 2 * intermediate) * tokens * size;
        let flops = 4 * tokens * hidden * intermediate;
        let op = format!("linear gate_up, {tokens} tokens");
        self.time(op, weight.next().size_bytes() + moved, flops, || {
            Ok(linear(&out, &x, weight.next(), Accumulate::Overwrite)?)
        })?;
        let blocks = tokens.div_ceil(BLOCK_SIZE);
        let cache = side.cache(blocks, kv_heads, head_dim)?;
        let batch = AttentionBatch {
            query_starts: side.integers(&[0, tokens as u32])?,
            context_lens: side.integers(&[tokens as u32])?,
            block_tables: side
                .integers(&(0..blocks as u32).collect::<Vec<_>>())?
                .reshape((1, blocks))?,
            max_queries: tokens,
        };
        let qkv = random(tokens, (heads + 2 * kv_heads) * head_dim)?;
        let out = random(tokens, heads * head_dim)?;
        let moved = 2 * tokens * (heads + kv_heads) * head_dim * size;
        // Half of all pairs of tokens are visible.
        let flops = 2 * tokens * tokens * heads * head_dim;
        let scale = 1.0 / (head_dim as f32).sqrt();
        self.time(
            format!("paged_attention, prompt of {tokens}"),
            moved,
            flops,
            || {
                Ok(paged_attention(
                    &out, &qkv, &cache, &batch, heads, scale, None,
                )?)
            },
        )
    }
}

/// Logits similar to a real model's: nearly normal, so that few tokens are likely at a low
/// temperature.
fn peaked_logits(len: usize) -> Vec<f32> {
    const STANDARD_DEVIATION: f32 = 2.5;
    // The sum of three uniform numbers over -1..1 has variance 1.
    let uniform = Random::new(3).values(3 * len);
    let sums = uniform
        .chunks_exact(3)
        .map(|three| three.iter().sum::<f32>());
    sums.map(|sum| sum * STANDARD_DEVIATION).collect()
}
