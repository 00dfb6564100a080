//! Root-mean-square normalisation.

use candle_core::{CpuStorage, InplaceOp3, Layout, Result, Tensor, bail};
#[cfg(feature = "cuda")]
use candle_core::{CudaStorage, DType};

#[cfg(feature = "cuda")]
use crate::cuda::{Gpu, Grid, arguments, operand};
use crate::operand::{destination, source};
use crate::pool::for_each_row;
use crate::simd::{Kernel, LANES, Simd, SimdLevel, dispatch};

/// Values per task.
const TASK_VALUES: usize = 16 * 1024;

/// `out = x / sqrt(mean(x²) + eps) · weight`, row by row: `out` and `x` `[m, hidden]`, `weight` f32
/// `[hidden]`.
///
/// Source: Zhang and Sennrich, "Root Mean Square Layer Normalization", 2019.
///
/// # Errors
/// A shape or a type doesn't fit, or `out` and `x` share storage.
pub fn rms_norm(out: &Tensor, x: &Tensor, weight: &Tensor, eps: f32) -> Result<()> {
    out.inplace_op3(x, weight, &RmsNorm { eps })
}

struct RmsNorm {
    eps: f32,
}

impl InplaceOp3 for RmsNorm {
    fn name(&self) -> &'static str {
        "rms_norm"
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
        let (_, hidden) = check(out_layout, x_layout, weight_layout)?;
        let x = source::<f32>("rms_norm: x", x, x_layout)?;
        let weight = source::<f32>("rms_norm: weight", weight, weight_layout)?;
        let out = destination("rms_norm: out", out, out_layout)?;

        let level = SimdLevel::current();
        for_each_row(out, hidden, TASK_VALUES, |row, out| {
            let row = Row {
                out,
                x: &x[row * hidden..][..hidden],
                weight,
                eps: self.eps,
            };
            dispatch(level, row);
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
        weight: &CudaStorage,
        weight_layout: &Layout,
    ) -> Result<()> {
        /// Values that a thread loads at once.
        const VECTOR: usize = 8;
        /// Values that a block holds in registers.
        const MAX_HIDDEN: usize = 16_384;
        let (rows, hidden) = check(out_layout, x_layout, weight_layout)?;
        if !hidden.is_multiple_of(VECTOR) || hidden > MAX_HIDDEN {
            bail!(
                "rms_norm: rows of {hidden}: a GPU takes multiples of {VECTOR} up to {MAX_HIDDEN}"
            );
        }
        let gpu = Gpu::of(&out.device)?;
        let out = operand("rms_norm: out", out, out_layout)?;
        let element = out.element("rms_norm: out")?;
        let arguments = arguments::RmsNorm {
            out: out.address,
            x: operand("rms_norm: x", x, x_layout)?.of("rms_norm: x", element)?,
            weight: operand("rms_norm: weight", weight, weight_layout)?
                .of("rms_norm: weight", DType::F32)?,
            live: gpu.live_rows(rows)?,
            hidden: hidden as u32,
            eps: self.eps,
        };
        // SAFETY: the shapes were checked.
        unsafe { gpu.launch(Some(element), 0, Grid::new(rows, 1, 1), &arguments) }
    }
}

/// The number of rows, and their length.
fn check(out: &Layout, x: &Layout, weight: &Layout) -> Result<(usize, usize)> {
    let (rows, hidden) = out.shape().dims2()?;
    if x.shape().dims2()? != (rows, hidden) || weight.shape().dims1()? != hidden {
        bail!(
            "rms_norm: out {:?}, x {:?} and weight {:?} don't fit together",
            out.shape(),
            x.shape(),
            weight.shape()
        );
    }
    Ok((rows, hidden))
}

struct Row<'a> {
    out: &'a mut [f32],
    x: &'a [f32],
    weight: &'a [f32],
    eps: f32,
}

impl Kernel for Row<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let Self {
            out,
            x,
            weight,
            eps,
        } = self;
        let scale = unsafe { root_scale::<S>(x, eps) };
        for i in 0..x.len().min(out.len()).min(weight.len()) {
            out[i] = x[i] * scale * weight[i];
        }
    }
}

/// `1 / sqrt(mean(x²) + eps)`.
///
/// # Safety
/// The processor has the level's instructions.
#[inline(always)]
pub(crate) unsafe fn root_scale<S: Simd>(x: &[f32], eps: f32) -> f32 {
    // One sum per lane lets the compiler vectorise without reordering a sum.
    let mut sums = [0.0_f32; LANES];
    let (whole, rest) = x.as_chunks::<LANES>();
    for chunk in whole {
        for lane in 0..LANES {
            sums[lane] = S::mul_add(chunk[lane], chunk[lane], sums[lane]);
        }
    }
    let mut sum = 0.0;
    for value in &sums {
        sum += *value;
    }
    for value in rest {
        sum += value * value;
    }
    1.0 / (sum / x.len() as f32 + eps).sqrt()
}
