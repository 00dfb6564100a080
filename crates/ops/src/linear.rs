//! A linear layer.

#[cfg(feature = "cuda")]
use candle_core::CudaStorage;
use candle_core::{CpuStorage, InplaceOp3, Layout, Result, Storage, Tensor, bail};

use crate::LinearWeight;
#[cfg(feature = "cuda")]
use crate::cuda::{Gpu, Matrices, Product, operand};
use crate::gemm::{self, Gemm, Output, Panels};
use crate::operand::{destination, source};
use crate::pool;

/// What to do with the values in the destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accumulate {
    /// Replace them.
    Overwrite,
    /// Add to them: a residual connection without an extra pass.
    Add,
}

/// `out [m, out_features] (+)= x [m, in_features] · weightᵀ`. On a GPU, `out` may be f32 while
/// everything else has 16 bits, and m is rounded up to [`planned_rows`] as far as the storage of
/// both reaches behind their views: that part of `out` is overwritten.
///
/// # Errors
/// A shape or a type doesn't fit, or `out` and `x` share storage.
pub fn linear(
    out: &Tensor,
    x: &Tensor,
    weight: &LinearWeight,
    accumulate: Accumulate,
) -> Result<()> {
    out.inplace_op3(x, weight.panels(), &Linear::new(weight, accumulate, false))
}

/// Hints that a later [`linear`] uses `weight`. On the CPU, threads that wait until then prefetch the
/// beginning of it into their caches.
pub fn read_ahead(weight: &LinearWeight) {
    let (storage, layout) = weight.panels().storage_and_layout();
    let Storage::Cpu(storage) = &*storage else {
        return;
    };
    match Panels::new(storage, layout) {
        Ok(Panels::Bf16(panels)) => pool::read_ahead(panels),
        Ok(Panels::F32(panels)) => pool::read_ahead(panels),
        // The product will say what is wrong.
        Err(_) => (),
    }
}

/// Chooses how a GPU computes [`linear`] for this number of rows by timing its algorithms.
/// Overwrites `out`. On the CPU there is nothing to choose.
///
/// # Errors
/// Those of [`linear`].
pub fn plan_linear(
    out: &Tensor,
    x: &Tensor,
    weight: &LinearWeight,
    accumulate: Accumulate,
) -> Result<()> {
    out.inplace_op3(x, weight.panels(), &Linear::new(weight, accumulate, true))
}

/// The number of rows that a GPU computes for `rows`. There are only a few values, so that all are
/// planned ahead: at most 15 rows more up to 256, and an eighth more beyond.
pub fn planned_rows(rows: usize) -> usize {
    let step = match rows {
        0..=2 => 1,
        3..=4 => 4,
        5..=64 => 8,
        65..=256 => 16,
        257..=512 => 32,
        513..=1024 => 64,
        1025..=2048 => 128,
        2049..=4096 => 256,
        _ => 512,
    };
    rows.next_multiple_of(step)
}

struct Linear {
    in_features: usize,
    out_features: usize,
    accumulate: Accumulate,
    /// Whether to plan the product only, without computing it.
    plans: bool,
}

impl InplaceOp3 for Linear {
    fn name(&self) -> &'static str {
        "linear"
    }

    fn cpu_fwd(
        &self,
        out: &mut CpuStorage,
        out_layout: &Layout,
        x: &CpuStorage,
        x_layout: &Layout,
        weight: &CpuStorage,
        weight_layout: &Layout,
    ) -> Result<()> {
        let rows = self.check(out_layout, x_layout)?;
        if self.plans {
            return Ok(());
        }
        let out = destination("linear: out", out, out_layout)?;
        gemm::run(&[Gemm {
            x: source("linear: x", x, x_layout)?,
            x_stride: self.in_features,
            out: Output::new(out, self.out_features, 0),
            rows,
            weight: Panels::new(weight, weight_layout)?,
            in_features: self.in_features,
            out_features: self.out_features,
            add: self.accumulate == Accumulate::Add,
        }]);
        Ok(())
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(
        &self,
        out: &mut CudaStorage,
        out_layout: &Layout,
        x: &CudaStorage,
        x_layout: &Layout,
        weight: &CudaStorage,
        weight_layout: &Layout,
    ) -> Result<()> {
        let rows = self.check(out_layout, x_layout)?;
        let gpu = Gpu::of(&out.device)?;
        let out = operand("linear: out", out, out_layout)?;
        let weight = operand("linear: weight", weight, weight_layout)?;
        let element = weight.element("linear: weight")?;
        let x = operand("linear: x", x, x_layout)?;
        let most_rows = (out.elements / self.out_features).min(x.elements / self.in_features);
        let product = Product {
            m: planned_rows(rows).min(most_rows),
            n: self.out_features,
            k: self.in_features,
            element,
            out: out.dtype,
            add: self.accumulate == Accumulate::Add,
        };
        let matrices = Matrices {
            x: x.of("linear: x", element)?,
            weight: weight.address,
            out: out.address,
        };
        // SAFETY: the shapes were checked, and the rows behind them too, and candle does not let an
        // operand be the destination.
        unsafe {
            if self.plans {
                gpu.blas().plan(product, matrices)
            } else {
                gpu.blas().multiply(product, matrices)
            }
        }
    }
}

impl Linear {
    fn new(weight: &LinearWeight, accumulate: Accumulate, plans: bool) -> Self {
        Self {
            in_features: weight.in_features(),
            out_features: weight.out_features(),
            accumulate,
            plans,
        }
    }

    /// The number of rows.
    fn check(&self, out: &Layout, x: &Layout) -> Result<usize> {
        let (rows, out_features) = out.shape().dims2()?;
        if x.shape().dims2()? != (rows, self.in_features) || out_features != self.out_features {
            bail!(
                "linear: a weight of [{}, {}] cannot turn x {:?} into out {:?}",
                self.out_features,
                self.in_features,
                x.shape(),
                out.shape()
            );
        }
        Ok(rows)
    }
}
