//! A linear layer.

use candle_core::{CpuStorage, InplaceOp3, Layout, Result, Tensor, bail};

use crate::LinearWeight;
use crate::gemm::{self, Gemm, Output, Panels};
use crate::operand::{destination, source};

/// What happens to the values that a destination holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accumulate {
    /// They are replaced.
    Overwrite,
    /// They are added to: a residual connection without a pass of its own.
    Add,
}

/// `out [m, out_features] (+)= x [m, in_features] · weightᵀ`, both f32.
///
/// # Errors
/// Where a shape or a type doesn't fit, or `out` and `x` share storage.
pub fn linear(
    out: &Tensor,
    x: &Tensor,
    weight: &LinearWeight,
    accumulate: Accumulate,
) -> Result<()> {
    let op = Linear {
        in_features: weight.in_features(),
        out_features: weight.out_features(),
        accumulate,
    };
    out.inplace_op3(x, weight.panels(), &op)
}

struct Linear {
    in_features: usize,
    out_features: usize,
    accumulate: Accumulate,
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
        _: &Layout,
    ) -> Result<()> {
        let (rows, out_features) = out_layout.shape().dims2()?;
        if x_layout.shape().dims2()? != (rows, self.in_features)
            || out_features != self.out_features
        {
            bail!(
                "linear: a weight of [{}, {}] cannot turn x {:?} into out {:?}",
                self.out_features,
                self.in_features,
                x_layout.shape(),
                out_layout.shape()
            );
        }
        let out = destination("linear: out", out, out_layout)?;
        gemm::run(&[Gemm {
            x: source("linear: x", x, x_layout)?,
            x_stride: self.in_features,
            out: Output::new(out, out_features, 0),
            rows,
            weight: Panels::new(weight)?,
            in_features: self.in_features,
            out_features,
            add: self.accumulate == Accumulate::Add,
        }]);
        Ok(())
    }
}
