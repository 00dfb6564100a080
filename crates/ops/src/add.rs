//! In-place addition.

#[cfg(feature = "cuda")]
use candle_core::CudaStorage;
use candle_core::{CpuStorage, InplaceOp2, Layout, Result, Tensor, bail};

#[cfg(feature = "cuda")]
use crate::cuda::{Gpu, Grid, arguments, operand};
use crate::operand::{destination, source};
use crate::pool::{self, Rows};

/// Values per task.
const TASK_VALUES: usize = 16 * 1024;

/// `out += x`, both `[m, n]`: a residual connection on its own, where [`crate::linear`] cannot
/// make it.
///
/// # Errors
/// A shape or a type doesn't fit, or `out` and `x` share storage.
pub fn add(out: &Tensor, x: &Tensor) -> Result<()> {
    add_scaled(out, x, 1.0)
}

/// `out += factor · x`, like [`add`].
///
/// # Errors
/// Those of [`add`].
pub fn add_scaled(out: &Tensor, x: &Tensor, factor: f32) -> Result<()> {
    out.inplace_op2(x, &Add { factor })
}

struct Add {
    factor: f32,
}

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
        check(out_layout, x_layout)?;
        let x = source::<f32>("add: x", x, x_layout)?;
        let out = destination("add: out", out, out_layout)?;
        let len = out.len();
        let out = Rows::new(out, TASK_VALUES);
        pool::run(len.div_ceil(TASK_VALUES), |task| {
            let start = task * TASK_VALUES;
            let x = &x[start..len.min(start + TASK_VALUES)];
            // SAFETY: every part belongs to one task.
            let out = unsafe { out.part(task, 0, x.len()) };
            out.iter_mut()
                .zip(x)
                .for_each(|(out, x)| *out += self.factor * x);
        });
        Ok(())
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(
        &self,
        out: &mut CudaStorage,
        out_layout: &Layout,
        x: &CudaStorage,
        x_layout: &Layout,
    ) -> Result<()> {
        /// Columns of a block.
        const BLOCK_COLUMNS: usize = 2048;
        check(out_layout, x_layout)?;
        let (rows, width) = out_layout.shape().dims2()?;
        let gpu = Gpu::of(&out.device)?;
        let out = operand("add: out", out, out_layout)?;
        let element = out.element("add: out")?;
        let arguments = arguments::Add {
            out: out.address,
            x: operand("add: x", x, x_layout)?.of("add: x", element)?,
            live: gpu.live_rows(rows)?,
            width: width as u32,
            factor: self.factor,
        };
        let grid = Grid::new(rows, width.div_ceil(BLOCK_COLUMNS), 1);
        // SAFETY: the shapes were checked.
        unsafe { gpu.launch(Some(element), 0, grid, &arguments) }
    }
}

fn check(out: &Layout, x: &Layout) -> Result<()> {
    if out.shape() != x.shape() {
        bail!("add: x {:?} doesn't fit out {:?}", x.shape(), out.shape());
    }
    Ok(())
}
