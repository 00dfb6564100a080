//! Compares every operation with its reference on the CPU.

mod rows;
mod sampling;

use std::fmt;

use candle_core::Tensor;
use farthing_ops::{
    Accumulate, AttentionBatch, LoraExpand, LoraSegment, LoraStack, LoraStackShape, LoraWeight,
    RopeFactors, RopeTable, linear, lora, lora_expand, lora_shrink, paged_attention,
    rope_and_cache,
};
use serde::Serialize;

use self::rows::{
    check_add, check_add_bias, check_embed, check_gather_rows, check_head_norm, check_rms_norm,
    check_silu_mul,
};
use self::sampling::check_sample;
use crate::side::{Random, Side, values};
use farthing_model::{BLOCK_SIZE, DeviceKind, ModelError};

/// Results of one operation.
#[derive(Clone, Debug, Serialize)]
pub struct Check {
    /// The operation.
    pub op: &'static str,
    /// Number of shapes.
    pub cases: usize,
    /// The largest relative error of a case: mean squared difference over the reference's mean
    /// square.
    pub worst_error: f64,
    /// The allowed error; 0 if both results must be equal.
    pub bound: f64,
    /// The first case that exceeded the bound.
    pub failure: Option<String>,
}

/// 16-bit results differ by up to 2⁻⁹ on either side, which gives 1e-6. Sums in another order, and
/// factors that one side rounds to 16 bits, add to that.
const ROUNDED: f64 = 3e-5;

type Run = fn(DeviceKind) -> Result<Check, ModelError>;

const ALL: [Run; 12] = [
    check_embed,
    check_gather_rows,
    check_rms_norm,
    check_silu_mul,
    check_add,
    check_add_bias,
    check_head_norm,
    check_linear,
    check_rope_and_cache,
    check_paged_attention,
    check_lora,
    check_sample,
];

/// Runs all checks and reports each result as soon as it is known.
pub(super) fn run(
    device: DeviceKind,
    say: &mut dyn FnMut(String),
) -> Result<Vec<Check>, ModelError> {
    say("\noperation          cases   worst error       bound   result".to_owned());
    let mut checks = Vec::with_capacity(ALL.len());
    for check in ALL {
        let result = check(device)?;
        say(result.to_string());
        checks.push(result);
    }
    Ok(checks)
}

impl Check {
    /// Whether the results agree.
    pub fn passed(&self) -> bool {
        self.failure.is_none()
    }

    fn new(op: &'static str, bound: f64) -> Self {
        Self {
            op,
            cases: 0,
            worst_error: 0.0,
            bound,
            failure: None,
        }
    }

    /// Compares the results of one case.
    fn compare(&mut self, case: impl fmt::Display, found: &[f32], expected: &[f32]) {
        self.cases += 1;
        let error = relative_error(found, expected);
        self.worst_error = self.worst_error.max(error);
        // NaN exceeds every bound.
        let is_within = error <= self.bound;
        if !is_within && self.failure.is_none() {
            self.failure = Some(format!("{case}: error {error:.1e}"));
        }
    }
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:<18} {:>5} {:>13.1e} {:>11.1e}   {}",
            self.op,
            self.cases,
            self.worst_error,
            self.bound,
            self.failure.as_deref().unwrap_or("ok")
        )
    }
}

/// Σ (found - expected)² / Σ expected².
fn relative_error(found: &[f32], expected: &[f32]) -> f64 {
    if found.len() != expected.len() {
        return f64::INFINITY;
    }
    let (mut differences, mut squares) = (0.0, 0.0);
    for (found, expected) in found.iter().zip(expected) {
        let (found, expected) = (f64::from(*found), f64::from(*expected));
        differences += (found - expected).powi(2);
        squares += expected.powi(2);
    }
    match squares {
        0.0 => differences,
        _ => differences / squares,
    }
}

/// Computes the same on the tested device and on the reference.
fn both<T>(
    device: DeviceKind,
    run: impl Fn(&Side) -> Result<T, ModelError>,
) -> Result<(T, T), ModelError> {
    let (tested, twin) = (Side::tested(device)?, Side::twin());
    let found = tested.compute(|| run(&tested))?;
    let expected = twin.compute(|| run(&twin))?;
    Ok((found, expected))
}

fn check_linear(device: DeviceKind) -> Result<Check, ModelError> {
    let mut check = Check::new("linear", ROUNDED);
    let mut random = Random::new(5);
    for rows in [1, 2, 3, 8, 17, 64, 129, 300] {
        for (out_features, in_features) in [(64, 64), (960, 576), (136, 1536), (1000, 2048)] {
            for accumulate in [Accumulate::Overwrite, Accumulate::Add] {
                let x = random.values(rows * in_features);
                let weight = random.values(out_features * in_features);
                let before = random.values(rows * out_features);
                let (found, expected) = both(device, |side| {
                    let out = side.activations(&before, out_features)?;
                    linear(
                        &out,
                        &side.activations(&x, in_features)?,
                        &side.weight(&weight, in_features)?,
                        accumulate,
                    )?;
                    values(&out)
                })?;
                let case = format!("{accumulate:?} {rows} × {in_features} → {out_features}");
                check.compare(case, &found, &expected);
            }
        }
    }
    Ok(check)
}

/// Sequences in randomly assigned cache blocks.
struct Sequences {
    heads: usize,
    kv_heads: usize,
    head_dim: usize,
    window: Option<usize>,
    /// For each row: tokens in the cache including those of this step, and queries of this step.
    rows: Vec<(usize, usize)>,
}

impl Sequences {
    /// Fills the cache with NaN, writes the sequences' tokens as steps do, and computes attention.
    /// Returns the outputs, and the queries after the rotation.
    fn attend(&self, side: &Side, seed: u64) -> Result<(Vec<f32>, Vec<f32>), ModelError> {
        let Self {
            heads,
            kv_heads,
            head_dim,
            ..
        } = *self;
        let mut random = Random::new(seed);
        let row_len = (heads + 2 * kv_heads) * head_dim;
        let longest = self.rows.iter().map(|(context, _)| *context).max();
        let table_width = longest.unwrap_or(0).div_ceil(BLOCK_SIZE) + 1;
        let used: usize = self
            .rows
            .iter()
            .map(|(context, _)| context.div_ceil(BLOCK_SIZE))
            .sum();
        let num_blocks = used + 3;
        let cache = side.cache(num_blocks, kv_heads, head_dim)?;
        let inv_freq: Vec<f32> = (0..head_dim / 2)
            .map(|i| 10_000_f32.powf(-2.0 * i as f32 / head_dim as f32))
            .collect();
        let rope = RopeTable::new(
            &inv_freq,
            longest.unwrap_or(0) + 1,
            RopeFactors::NONE,
            &side.device,
        )?;
        let write = |qkv: &Tensor, positions: &[u32], slots: &[u32]| -> Result<(), ModelError> {
            let (positions, slots) = (side.integers(positions)?, side.integers(slots)?);
            rope_and_cache(qkv, &rope, &positions, &slots, &cache, heads)?;
            Ok(())
        };
        let all: Vec<u32> = (0..(num_blocks * BLOCK_SIZE) as u32).collect();
        write(&side.room(all.len(), row_len)?, &vec![0; all.len()], &all)?;

        let mut free = random.shuffled(num_blocks);
        // Entries beyond a row's context point outside the cache.
        let mut tables = vec![u32::MAX; self.rows.len() * table_width];
        let (mut starts, mut contexts, mut queries) = (vec![0], Vec::new(), Vec::new());
        let (mut positions, mut slots) = (Vec::new(), Vec::new());
        for (r, (context, count)) in self.rows.iter().enumerate() {
            let blocks = free.split_off(free.len() - context.div_ceil(BLOCK_SIZE));
            tables[r * table_width..][..blocks.len()].copy_from_slice(&blocks);
            let qkv = random.values(context * row_len);
            let slot =
                |t: usize| blocks[t / BLOCK_SIZE] * BLOCK_SIZE as u32 + (t % BLOCK_SIZE) as u32;
            let earlier = context - count;
            if earlier > 0 {
                let before = side.activations(&qkv[..earlier * row_len], row_len)?;
                let at: Vec<u32> = (0..earlier as u32).collect();
                write(&before, &at, &(0..earlier).map(slot).collect::<Vec<_>>())?;
            }
            queries.extend_from_slice(&qkv[earlier * row_len..]);
            positions.extend((earlier..*context).map(|t| t as u32));
            slots.extend((earlier..*context).map(slot));
            starts.push(starts[r] + *count as u32);
            contexts.push(*context as u32);
        }
        let tokens = positions.len();
        let qkv = side.activations(&queries, row_len)?;
        write(&qkv, &positions, &slots)?;
        let batch = AttentionBatch {
            query_starts: side.integers(&starts)?,
            context_lens: side.integers(&contexts)?,
            block_tables: side
                .integers(&tables)?
                .reshape((self.rows.len(), table_width))?,
            max_queries: self
                .rows
                .iter()
                .map(|(_, queries)| *queries)
                .max()
                .unwrap_or(0),
        };
        let out = side.room(tokens, heads * head_dim)?;
        let scale = 1.0 / (head_dim as f32).sqrt();
        paged_attention(&out, &qkv, &cache, &batch, heads, scale, self.window)?;
        let rotated = qkv.narrow(1, 0, heads * head_dim)?;
        Ok((values(&out)?, values(&rotated)?))
    }
}

impl fmt::Display for Sequences {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} heads, {} kv heads of {}, window {:?}, contexts and queries {:?}",
            self.heads, self.kv_heads, self.head_dim, self.window, self.rows
        )
    }
}

/// Lengths around the edges of blocks and tiles, prompts and decodes, empty rows.
fn all_sequences() -> impl Iterator<Item = Sequences> {
    let rows: [&[(usize, usize)]; 6] = [
        &[(1, 1)],
        &[
            (15, 1),
            (16, 1),
            (17, 1),
            (31, 1),
            (32, 1),
            (33, 1),
            (63, 1),
            (64, 1),
            (65, 1),
        ],
        &[(1, 1), (700, 1), (129, 1)],
        &[
            (5, 5),
            (64, 64),
            (33, 17),
            (0, 0),
            (130, 1),
            (16, 16),
            (200, 70),
        ],
        &[(300, 300)],
        &[(0, 0), (48, 2), (50, 3), (90, 4), (91, 5)],
    ];
    let shapes = [
        (4, 4, 64),
        (8, 2, 64),
        (9, 3, 64),
        (6, 2, 96),
        (8, 2, 128),
        (8, 1, 128),
    ];
    let windows = [None, Some(1), Some(40)];
    shapes
        .into_iter()
        .flat_map(move |(heads, kv_heads, head_dim)| {
            rows.into_iter().flat_map(move |rows| {
                windows.into_iter().map(move |window| Sequences {
                    heads,
                    kv_heads,
                    head_dim,
                    window,
                    rows: rows.to_vec(),
                })
            })
        })
}

fn check_rope_and_cache(device: DeviceKind) -> Result<Check, ModelError> {
    let mut check = Check::new("rope_and_cache", ROUNDED);
    for sequences in all_sequences().filter(|it| it.window.is_none()) {
        let (found, expected) = both(device, |side| Ok(sequences.attend(side, 6)?.1))?;
        check.compare(&sequences, &found, &expected);
    }
    Ok(check)
}

fn check_paged_attention(device: DeviceKind) -> Result<Check, ModelError> {
    let mut check = Check::new("paged_attention", ROUNDED);
    for sequences in all_sequences() {
        let (found, expected) = both(device, |side| Ok(sequences.attend(side, 7)?.0))?;
        check.compare(&sequences, &found, &expected);
    }
    Ok(check)
}

/// Adapters of a layer with three targets. Some adapters leave a target unchanged.
struct Adapters {
    in_features: usize,
    targets: Vec<usize>,
    /// Rank by adapter and target; 0 if the adapter does not change the target.
    ranks: Vec<Vec<usize>>,
    /// Runs of tokens: length, and the adapter.
    runs: Vec<(usize, Option<usize>)>,
}

impl Adapters {
    fn add(&self, side: &Side) -> Result<Vec<f32>, ModelError> {
        let mut random = Random::new(8);
        let out_features: usize = self.targets.iter().sum();
        let tokens: usize = self.runs.iter().map(|(tokens, _)| tokens).sum();
        let weights = self
            .ranks
            .iter()
            .map(|ranks| self.weight(side, ranks, &mut random))
            .collect::<Result<Vec<_>, _>>()?;
        let x = side.activations(&random.values(tokens * self.in_features), self.in_features)?;
        let out = side.activations(&random.values(tokens * out_features), out_features)?;
        match side.kind {
            DeviceKind::Cpu => {
                let mut first = 0;
                let mut segments = Vec::new();
                for (tokens, adapter) in &self.runs {
                    if let Some(adapter) = adapter {
                        segments.push(LoraSegment {
                            rows: first..first + tokens,
                            weight: &weights[*adapter],
                        });
                    }
                    first += tokens;
                }
                lora(&out, &x, &segments)?;
            }
            DeviceKind::Cuda(_) => {
                let shape = LoraStackShape {
                    slots: weights.len() + 1,
                    in_features: self.in_features,
                    targets: self.targets.clone(),
                    max_rank: self.ranks.iter().flatten().copied().max().unwrap_or(1),
                };
                let stack = LoraStack::new(shape.clone(), x.dtype(), &side.device)?;
                for (slot, weight) in weights.iter().enumerate() {
                    stack.fill(slot + 1, Some(weight))?;
                }
                let mut first = 0;
                let mut adapters = Vec::new();
                for (tokens, adapter) in &self.runs {
                    adapters.extend(adapter.map(|adapter| (adapter + 1, first..first + tokens)));
                    first += tokens;
                }
                let rows = side.lora_rows(&[shape], adapters, tokens)?;
                lora_shrink(&x, &stack, &rows)?;
                lora_expand(&out, &stack, &rows)?;
            }
        }
        values(&out)
    }

    fn weight(
        &self,
        side: &Side,
        ranks: &[usize],
        random: &mut Random,
    ) -> Result<LoraWeight, ModelError> {
        let total: usize = ranks.iter().sum();
        let shrink = random.values(total * self.in_features);
        let (mut shrink_offset, mut out_offset) = (0, 0);
        let mut expand = Vec::new();
        for (rank, columns) in ranks.iter().zip(&self.targets) {
            if *rank > 0 {
                let b: Vec<f32> = random
                    .values(columns * rank)
                    .iter()
                    .map(|x| x * 0.1)
                    .collect();
                expand.push(LoraExpand {
                    weight: side.adapter_weight(&b, *rank)?,
                    shrink_offset,
                    out_offset,
                });
            }
            shrink_offset += rank;
            out_offset += columns;
        }
        Ok(LoraWeight {
            shrink: side.adapter_weight(&shrink, self.in_features)?,
            expand,
            gain: None,
            bias: None,
        })
    }
}

fn check_lora(device: DeviceKind) -> Result<Check, ModelError> {
    let mut check = Check::new("lora", ROUNDED);
    let targets = vec![192, 64, 64];
    let ranks = vec![
        vec![16, 16, 16],
        vec![8, 0, 5],
        vec![0, 64, 1],
        vec![32, 32, 0],
    ];
    for in_features in [64, 576, 2048] {
        for runs in [
            vec![(1, Some(0))],
            vec![
                (3, Some(0)),
                (1, Some(3)),
                (2, None),
                (17, Some(2)),
                (1, Some(1)),
            ],
            vec![(40, None), (300, Some(1))],
            vec![(16, Some(3)), (0, Some(2)), (16, None), (16, Some(0))],
        ] {
            let adapters = Adapters {
                in_features,
                targets: targets.clone(),
                ranks: ranks.clone(),
                runs,
            };
            let (found, expected) = both(device, |side| adapters.add(side))?;
            let case = format!("{in_features} inputs, runs {:?}", adapters.runs);
            check.compare(case, &found, &expected);
        }
    }
    Ok(check)
}
