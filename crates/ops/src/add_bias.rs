//! The bias of a linear layer.

use candle_core::{CpuStorage, InplaceOp2, Layout, Result, Tensor, bail};
#[cfg(feature = "cuda")]
use candle_core::{CudaStorage, DType};

#[cfg(feature = "cuda")]
use crate::cuda::{Gpu, Grid, arguments, operand};
use crate::operand::{destination, source};
use crate::pool::for_each_row;

/// Values per task.
const TASK_VALUES: usize = 16 * 1024;

/// `out += bias`, row by row: `out` `[m, n]`, `bias` f32 `[n]`.
///
/// # Errors
/// A shape or a type doesn't fit.
pub fn add_bias(out: &Tensor, bias: &Tensor) -> Result<()> {
    out.inplace_op2(bias, &AddBias)
}

struct AddBias;

impl InplaceOp2 for AddBias {
    fn name(&self) -> &'static str {
        "add_bias"
    }

    fn cpu_fwd(
        &self,
        out: &mut CpuStorage,
        out_layout: &Layout,
        bias: &CpuStorage,
        bias_layout: &Layout,
    ) -> Result<()> {
        let (_, width) = check(out_layout, bias_layout)?;
        let bias = source::<f32>("add_bias: bias", bias, bias_layout)?;
        let out = destination("add_bias: out", out, out_layout)?;
        for_each_row(out, width, TASK_VALUES, |_, row| {
            row.iter_mut()
                .zip(bias)
                .for_each(|(out, bias)| *out += bias);
        });
        Ok(())
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(
        &self,
        out: &mut CudaStorage,
        out_layout: &Layout,
        bias: &CudaStorage,
        bias_layout: &Layout,
    ) -> Result<()> {
        /// Columns of a block.
        const BLOCK_COLUMNS: usize = 2048;
        /// Values that a thread loads at once.
        const VECTOR: usize = 8;
        let (rows, width) = check(out_layout, bias_layout)?;
        if !width.is_multiple_of(VECTOR) {
            bail!("add_bias: rows of {width}: a GPU takes multiples of {VECTOR}");
        }
        let gpu = Gpu::of(&out.device)?;
        let out = operand("add_bias: out", out, out_layout)?;
        let element = out.element("add_bias: out")?;
        let arguments = arguments::AddBias {
            out: out.address,
            bias: operand("add_bias: bias", bias, bias_layout)?.of("add_bias: bias", DType::F32)?,
            live: gpu.live_rows(rows)?,
            width: width as u32,
        };
        let grid = Grid::new(rows, width.div_ceil(BLOCK_COLUMNS), 1);
        // SAFETY: the shapes were checked.
        unsafe { gpu.launch(Some(element), 0, grid, &arguments) }
    }
}

/// The number of rows, and their length.
fn check(out: &Layout, bias: &Layout) -> Result<(usize, usize)> {
    let (rows, width) = out.shape().dims2()?;
    if bias.shape().dims1()? != width {
        bail!(
            "add_bias: bias {:?} doesn't fit out {:?}",
            bias.shape(),
            out.shape()
        );
    }
    Ok((rows, width))
}
