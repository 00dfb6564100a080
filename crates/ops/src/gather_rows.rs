//! Some rows of a matrix.

use candle_core::{CpuStorage, InplaceOp3, Layout, Result, Tensor, bail};

use crate::operand::{destination, source};

/// `out [r, h] = x [m, h]` at the rows `rows [r]` u32; both f32.
///
/// # Errors
/// Where a row is outside `x`, or a shape or a type doesn't fit.
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
        let (x_rows, width) = x_layout.shape().dims2()?;
        let count = rows_layout.shape().dims1()?;
        if out_layout.shape().dims2()? != (count, width) {
            bail!(
                "gather_rows: {count} rows of {width} need out [{count}, {width}], not {:?}",
                out_layout.shape()
            );
        }
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
}
