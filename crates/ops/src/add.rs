//! A sum in place.

use candle_core::{CpuStorage, InplaceOp2, Layout, Result, Tensor, bail};

use crate::operand::{destination, source};

/// `out += x`, both f32 `[m, n]`: a residual connection on its own, where [`crate::linear`] cannot
/// make it.
///
/// # Errors
/// Where a shape or a type doesn't fit, or `out` and `x` share storage.
pub fn add(out: &Tensor, x: &Tensor) -> Result<()> {
    out.inplace_op2(x, &Add)
}

struct Add;

impl InplaceOp2 for Add {
    fn name(&self) -> &'static str {
        "add"
    }

    fn cpu_fwd(
        &self,
        out: &mut CpuStorage,
        out_layout: &Layout,
        x: &CpuStorage,
        x_layout: &Layout,
    ) -> Result<()> {
        if out_layout.shape() != x_layout.shape() {
            bail!(
                "add: x {:?} doesn't fit out {:?}",
                x_layout.shape(),
                out_layout.shape()
            );
        }
        let x = source::<f32>("add: x", x, x_layout)?;
        for (out, x) in destination("add: out", out, out_layout)?.iter_mut().zip(x) {
            *out += x;
        }
        Ok(())
    }
}
