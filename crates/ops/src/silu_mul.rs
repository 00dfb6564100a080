//! The gated activation of the feed-forward layer.

#[cfg(feature = "cuda")]
use candle_core::CudaStorage;
use candle_core::{CpuStorage, InplaceOp2, Layout, Result, Tensor, bail};

#[cfg(feature = "cuda")]
use crate::cuda::{Gpu, Grid, arguments, operand};
use crate::operand::{destination, source};
use crate::pool::for_each_row;
use crate::simd::{Kernel, Simd, SimdLevel, dispatch, exp};

/// Values per task.
const TASK_VALUES: usize = 8 * 1024;

/// `out [m, i] = silu(gate) · up`. A row of `gate_up [m, 2i]` holds the gates, then the ups.
/// `silu(x) = x / (1 + e^-x)`.
///
/// Source: Shazeer, "GLU Variants Improve Transformer", 2020.
///
/// # Errors
/// A shape or a type doesn't fit, or `out` and `gate_up` share storage.
pub fn silu_mul(out: &Tensor, gate_up: &Tensor) -> Result<()> {
    out.inplace_op2(gate_up, &SiluMul)
}

struct SiluMul;

impl InplaceOp2 for SiluMul {
    fn name(&self) -> &'static str {
        "silu_mul"
    }

    fn cpu_fwd(
        &self,
        out: &mut CpuStorage,
        out_layout: &Layout,
        gate_up: &CpuStorage,
        gate_up_layout: &Layout,
    ) -> Result<()> {
        let (_, width) = check(out_layout, gate_up_layout)?;
        let gate_up = source::<f32>("silu_mul: gate_up", gate_up, gate_up_layout)?;
        let out = destination("silu_mul: out", out, out_layout)?;

        let level = SimdLevel::current();
        for_each_row(out, width, TASK_VALUES, |row, out| {
            let (gate, up) = gate_up[row * 2 * width..][..2 * width].split_at(width);
            dispatch(level, Row { out, gate, up });
        });
        Ok(())
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(
        &self,
        out: &mut CudaStorage,
        out_layout: &Layout,
        gate_up: &CudaStorage,
        gate_up_layout: &Layout,
    ) -> Result<()> {
        /// Columns of a block.
        const BLOCK_COLUMNS: usize = 2048;
        /// Values that a thread loads at once.
        const VECTOR: usize = 8;
        let (rows, width) = check(out_layout, gate_up_layout)?;
        if !width.is_multiple_of(VECTOR) {
            bail!("silu_mul: rows of {width}: a GPU takes multiples of {VECTOR}");
        }
        let gpu = Gpu::of(&out.device)?;
        let out = operand("silu_mul: out", out, out_layout)?;
        let element = out.element("silu_mul: out")?;
        let arguments = arguments::SiluMul {
            out: out.address,
            gate_up: operand("silu_mul: gate_up", gate_up, gate_up_layout)?
                .of("silu_mul: gate_up", element)?,
            live: gpu.live_rows(rows)?,
            intermediate: width as u32,
        };
        let grid = Grid::new(rows, width.div_ceil(BLOCK_COLUMNS), 1);
        // SAFETY: the shapes were checked.
        unsafe { gpu.launch(Some(element), 0, grid, &arguments) }
    }
}

/// The number of rows, and of columns of `out`.
fn check(out: &Layout, gate_up: &Layout) -> Result<(usize, usize)> {
    let (rows, width) = out.shape().dims2()?;
    if gate_up.shape().dims2()? != (rows, 2 * width) {
        bail!(
            "silu_mul: out {:?} needs gate_up [{rows}, {}], not {:?}",
            out.shape(),
            2 * width,
            gate_up.shape()
        );
    }
    Ok((rows, width))
}

struct Row<'a> {
    out: &'a mut [f32],
    gate: &'a [f32],
    up: &'a [f32],
}

impl Kernel for Row<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let Self { out, gate, up } = self;
        for i in 0..out.len().min(gate.len()).min(up.len()) {
            out[i] = gate[i] / (1.0 + exp::<S>(-gate[i])) * up[i];
        }
    }
}
