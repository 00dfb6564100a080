//! Selects rows of a matrix.

use candle_core::{CpuStorage, InplaceOp3, Layout, Result, Tensor, bail};
#[cfg(feature = "cuda")]
use candle_core::{CudaStorage, DType};

#[cfg(feature = "cuda")]
use crate::cuda::{Gpu, Grid, arguments, operand};
use crate::operand::{destination, source};

/// `out [r, h] = x [m, h]` at the rows `rows [r]` u32.
///
/// # Errors
/// A shape or a type doesn't fit, or a row is outside `x`. Only the CPU checks the rows: on a GPU
/// the host doesn't see them.
pub fn gather_rows(out: &Tensor, x: &Tensor, rows: &Tensor) -> Result<()> {
    out.inplace_op3(x, rows, &GatherRows)
}

struct GatherRows;

impl InplaceOp3 for GatherRows {
    fn name(&self) -> &'static str {
        "gather_rows"
    }

    fn cpu_fwd(
        &self,
        out: &mut CpuStorage,
        out_layout: &Layout,
        x: &CpuStorage,
        x_layout: &Layout,
        rows: &CpuStorage,
        rows_layout: &Layout,
    ) -> Result<()> {
        let (x_rows, _) = x_layout.shape().dims2()?;
        let (_, width) = check(out_layout, x_layout, rows_layout)?;
        let rows = source::<u32>("gather_rows: rows", rows, rows_layout)?;
        if let Some(row) = rows.iter().find(|row| **row as usize >= x_rows) {
            bail!("gather_rows: row {row} is outside a matrix of {x_rows} rows");
        }
        let x = source::<f32>("gather_rows: x", x, x_layout)?;
        let out = destination("gather_rows: out", out, out_layout)?;
        for (to, row) in out.chunks_exact_mut(width.max(1)).zip(rows) {
            to.copy_from_slice(&x[*row as usize * width..][..width]);
        }
        Ok(())
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(
        &self,
        out: &mut CudaStorage,
        out_layout: &Layout,
        x: &CudaStorage,
        x_layout: &Layout,
        rows: &CudaStorage,
        rows_layout: &Layout,
    ) -> Result<()> {
        let (count, width) = check(out_layout, x_layout, rows_layout)?;
        let gpu = Gpu::of(&out.device)?;
        let out = operand("gather_rows: out", out, out_layout)?;
        let element = out.element("gather_rows: out")?;
        let arguments = arguments::GatherRows {
            out: out.address,
            x: operand("gather_rows: x", x, x_layout)?.of("gather_rows: x", element)?,
            rows: operand("gather_rows: rows", rows, rows_layout)?
                .of("gather_rows: rows", DType::U32)?,
            live: gpu.live_rows(count)?,
            width: width as u32,
        };
        // SAFETY: the shapes were checked, and the caller guarantees the rows.
        unsafe { gpu.launch(Some(element), 0, Grid::new(count, 1, 1), &arguments) }
    }
}

/// The number of rows, and their width.
fn check(out: &Layout, x: &Layout, rows: &Layout) -> Result<(usize, usize)> {
    let (_, width) = x.shape().dims2()?;
    let count = rows.shape().dims1()?;
    if out.shape().dims2()? != (count, width) {
        bail!(
            "gather_rows: {count} rows of {width} need out [{count}, {width}], not {:?}",
            out.shape()
        );
    }
    Ok((count, width))
}
