//! LoRA adapters on the CPU: several adapters in one call.

mod slots;

use std::cell::RefCell;
use std::ops::Range;

#[cfg(feature = "cuda")]
use candle_core::CudaStorage;
use candle_core::{CpuStorage, InplaceOp2, Layout, Result, Storage, StorageRef, Tensor, bail};

pub use self::slots::{
    LORA_TILE_WORDS, LoraRows, LoraScratch, LoraStack, LoraStackShape, lora_expand, lora_shrink,
    lora_tiles, max_lora_tiles,
};
use crate::LinearWeight;
use crate::gemm::{self, Gemm, Output, Panels};
use crate::operand::{destination, source};
use crate::pool::for_each_row;

/// Values per task.
const TASK_VALUES: usize = 16 * 1024;

/// The adapter of one fused linear layer: `out = gain ⊙ out + bias + expand · shrink · x`.
///
/// Sources: Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models", 2021; the gain: Liu et
/// al., "DoRA: Weight-Decomposed Low-Rank Adaptation", 2024.
#[derive(Clone, Debug)]
pub struct LoraWeight {
    /// The A matrices of all targets, stacked: `[Σ rank, in_features]`.
    pub shrink: LinearWeight,
    /// The B matrix of each target.
    pub expand: Vec<LoraExpand>,
    /// Factors for the base model's output, f32 `[out_features]`; `None` means 1.
    pub gain: Option<Tensor>,
    /// Added to every row, f32 `[out_features]`; `None` means 0.
    pub bias: Option<Tensor>,
}

/// One target of a fused linear layer.
#[derive(Clone, Debug)]
pub struct LoraExpand {
    /// B, `[out_features of the target, rank]`, multiplied by the adapter's scale and the gain.
    pub weight: LinearWeight,
    /// First column of the target in the shrunk activations.
    pub shrink_offset: usize,
    /// First column of the target in the layer's output.
    pub out_offset: usize,
}

/// A range of rows with the same adapter.
#[derive(Clone, Debug)]
pub struct LoraSegment<'a> {
    /// Rows of `x` and `out`; may be empty.
    pub rows: Range<usize>,
    /// The adapter.
    pub weight: &'a LoraWeight,
}

/// Applies each segment's adapter to the base model's output: `out[rows] = gain ⊙ out[rows] +
/// bias`, then `out[rows, columns of a target] += expand · shrink · x[rows]`; `out [m,
/// out_features]` and `x [m, in_features]`, both f32. Rows outside all segments are unchanged.
///
/// # Errors
/// Segments overlap or don't ascend, the targets of an adapter overlap, or a shape or a type
/// doesn't fit.
pub fn lora(out: &Tensor, x: &Tensor, segments: &[LoraSegment<'_>]) -> Result<()> {
    if segments.iter().all(|segment| segment.rows.is_empty()) {
        return Ok(());
    }
    out.inplace_op2(x, &Lora { segments })
}

struct Lora<'a> {
    segments: &'a [LoraSegment<'a>],
}

thread_local! {
    /// The shrunk activations of all segments.
    static SHRUNK: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
}

impl InplaceOp2 for Lora<'_> {
    fn name(&self) -> &'static str {
        "lora"
    }

    fn cpu_fwd(
        &self,
        out: &mut CpuStorage,
        out_layout: &Layout,
        x: &CpuStorage,
        x_layout: &Layout,
    ) -> Result<()> {
        let (rows, out_features) = out_layout.shape().dims2()?;
        let (x_rows, in_features) = x_layout.shape().dims2()?;
        if rows != x_rows {
            bail!("lora: {x_rows} rows of x for {rows} rows of out");
        }
        self.check(rows, in_features, out_features)?;
        let out = destination("lora: out", out, out_layout)?;
        let x = source::<f32>("lora: x", x, x_layout)?;
        SHRUNK.with_borrow_mut(|shrunk| {
            let needed = self.segments.iter().map(LoraSegment::shrunk_len).sum();
            if shrunk.len() < needed {
                shrunk.resize(needed, 0.0);
            }
            self.shrink(x, in_features, shrunk)?;
            self.rescale(out, out_features)?;
            self.expand(shrunk, out, out_features)
        })
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(&self, _: &mut CudaStorage, _: &Layout, _: &CudaStorage, _: &Layout) -> Result<()> {
        bail!("lora: a GPU has its adapters in slots: use `lora_shrink` and `lora_expand`")
    }
}

impl LoraSegment<'_> {
    fn shrunk_len(&self) -> usize {
        self.rows.len() * self.weight.shrink.out_features()
    }
}

impl Lora<'_> {
    /// Tasks write to `out` concurrently, so segments and targets must not overlap.
    fn check(&self, rows: usize, in_features: usize, out_features: usize) -> Result<()> {
        let mut free_row = 0;
        for LoraSegment {
            rows: segment,
            weight,
        } in self.segments
        {
            if segment.start < free_row || segment.end < segment.start || segment.end > rows {
                bail!("lora: segment {segment:?} overlaps another or leaves the {rows} rows");
            }
            free_row = segment.end;
            for vector in [&weight.gain, &weight.bias].into_iter().flatten() {
                if vector.dims() != [out_features] {
                    bail!(
                        "lora: a gain or bias of {:?} for {out_features} columns",
                        vector.dims()
                    );
                }
            }
            let shrink = &weight.shrink;
            if shrink.in_features() != in_features {
                bail!(
                    "lora: an adapter of {} inputs for x of {in_features}",
                    shrink.in_features()
                );
            }
            for (i, target) in weight.expand.iter().enumerate() {
                let columns = target.columns();
                let ranks = target.shrink_offset + target.weight.in_features();
                if columns.end > out_features || ranks > shrink.out_features() {
                    bail!(
                        "lora: target {i} of columns {columns:?} and ranks up to {ranks} leaves the {out_features} columns of out or the adapter's {} ranks",
                        shrink.out_features()
                    );
                }
                let overlaps = |other: &LoraExpand| {
                    let other = other.columns();
                    columns.start < other.end && other.start < columns.end
                };
                if weight.expand[..i].iter().any(overlaps) {
                    bail!("lora: target {i} of columns {columns:?} overlaps another target");
                }
            }
        }
        Ok(())
    }

    fn shrink(&self, x: &[f32], in_features: usize, shrunk: &mut [f32]) -> Result<()> {
        let guards: Vec<_> = self
            .segments
            .iter()
            .map(|s| guard(&s.weight.shrink))
            .collect();
        let mut products = Vec::with_capacity(self.segments.len());
        let mut free = shrunk;
        for (segment, guard) in self.segments.iter().zip(&guards) {
            let (own, rest) = free.split_at_mut(segment.shrunk_len());
            free = rest;
            if segment.rows.is_empty() {
                continue;
            }
            let ranks = segment.weight.shrink.out_features();
            products.push(Gemm {
                x: &x[segment.rows.start * in_features..],
                x_stride: in_features,
                out: Output::new(own, ranks, 0),
                rows: segment.rows.len(),
                weight: panels(guard)?,
                in_features,
                out_features: ranks,
                add: false,
            });
        }
        gemm::run(&products);
        Ok(())
    }

    fn rescale(&self, out: &mut [f32], out_features: usize) -> Result<()> {
        for LoraSegment { rows, weight } in self.segments {
            let vectors = [&weight.gain, &weight.bias].map(|it| {
                let storage = it.as_ref().map(Tensor::storage_and_layout);
                storage.map(|(storage, layout)| (storage, layout.clone()))
            });
            let [gain, bias] = &vectors;
            let (gain, bias) = (vector(gain)?, vector(bias)?);
            if gain.is_none() && bias.is_none() {
                continue;
            }
            let out = &mut out[rows.start * out_features..rows.end * out_features];
            for_each_row(out, out_features, TASK_VALUES, |_, out| {
                if let Some(gain) = gain {
                    out.iter_mut().zip(gain).for_each(|(out, it)| *out *= it);
                }
                if let Some(bias) = bias {
                    out.iter_mut().zip(bias).for_each(|(out, it)| *out += it);
                }
            });
        }
        Ok(())
    }

    fn expand(&self, shrunk: &[f32], out: &mut [f32], out_features: usize) -> Result<()> {
        let targets = || {
            self.segments
                .iter()
                .flat_map(|segment| &segment.weight.expand)
        };
        let guards: Vec<_> = targets().map(|target| guard(&target.weight)).collect();
        let mut guard = guards.iter();
        let mut products = Vec::with_capacity(guards.len());
        let mut offset = 0;
        for segment in self.segments {
            let ranks = segment.weight.shrink.out_features();
            for (target, guard) in segment.weight.expand.iter().zip(guard.by_ref()) {
                if segment.rows.is_empty() {
                    continue;
                }
                let start = segment.rows.start * out_features;
                products.push(Gemm {
                    x: &shrunk[offset + target.shrink_offset..],
                    x_stride: ranks,
                    out: Output::new(&mut out[start..], out_features, target.out_offset),
                    rows: segment.rows.len(),
                    weight: panels(guard)?,
                    in_features: target.weight.in_features(),
                    out_features: target.weight.out_features(),
                    add: true,
                });
            }
            offset += segment.shrunk_len();
        }
        gemm::run(&products);
        Ok(())
    }
}

impl LoraExpand {
    fn columns(&self) -> Range<usize> {
        self.out_offset..self.out_offset + self.weight.out_features()
    }
}

/// The elements of a gain or a bias.
fn vector<'a>(guard: &'a Option<(StorageRef<'_>, Layout)>) -> Result<Option<&'a [f32]>> {
    match guard.as_ref().map(|(storage, layout)| (&**storage, layout)) {
        None => Ok(None),
        Some((Storage::Cpu(storage), layout)) => {
            source("lora: gain or bias", storage, layout).map(Some)
        }
        Some(_) => bail!("lora: the adapter is on another device than x"),
    }
}

fn guard(weight: &LinearWeight) -> (StorageRef<'_>, &Layout) {
    weight.panels().storage_and_layout()
}

fn panels<'a>((storage, layout): &'a (StorageRef<'_>, &Layout)) -> Result<Panels<'a>> {
    match &**storage {
        Storage::Cpu(storage) => Panels::new(storage, layout),
        _ => bail!("lora: the adapter is on another device than x"),
    }
}
