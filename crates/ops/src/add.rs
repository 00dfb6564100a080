//! A sum in place.

#[cfg(feature = "cuda")]
use candle_core::CudaStorage;
use candle_core::{CpuStorage, InplaceOp2, Layout, Result, Tensor, bail};

use crate::operand::{destination, source};
use crate::pool::{self, Rows};

/// Values that are worth a task of their own.
const TASK_VALUES: usize = 16 * 1024;

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
        let out = destination("add: out", out, out_layout)?;
        let len = out.len();
        let out = Rows::new(out, TASK_VALUES);
        pool::run(len.div_ceil(TASK_VALUES), |task| {
            let start = task * TASK_VALUES;
            let x = &x[start..len.min(start + TASK_VALUES)];
            // SAFETY: every part belongs to one task.
            let out = unsafe { out.part(task, 0, x.len()) };
            out.iter_mut().zip(x).for_each(|(out, x)| *out += x);
        });
        Ok(())
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(&self, _: &mut CudaStorage, _: &Layout, _: &CudaStorage, _: &Layout) -> Result<()> {
        bail!("add: only adapters that a GPU does not take need it")
    }
}
