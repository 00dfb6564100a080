//! Root-mean-square normalisation of each head's query and key.

use candle_core::{CpuStorage, InplaceOp3, Layout, Result, Tensor, bail};
#[cfg(feature = "cuda")]
use candle_core::{CudaStorage, DType};

#[cfg(feature = "cuda")]
use crate::cuda::{Gpu, Grid, arguments, operand};
use crate::operand::{destination, source};
use crate::pool::for_each_row;
use crate::rms_norm::root_scale;
use crate::simd::{Kernel, Simd, SimdLevel, dispatch};

/// Values per task.
const TASK_VALUES: usize = 16 * 1024;

/// Normalises every query head and every key head of `qkv` `[m, (num_heads + 2 · kv_heads) ·
/// head_dim]` in place, as [`crate::rms_norm`] does rows. The weights are f32 `[head_dim]`, one for
/// all queries and one for all keys. Values do not change.
///
/// Source: Henry et al., "Query-Key Normalization for Transformers", 2020, with RMSNorm as in Qwen3.
///
/// # Errors
/// A shape or a type doesn't fit.
pub fn head_norm(
    qkv: &Tensor,
    query_weight: &Tensor,
    key_weight: &Tensor,
    num_heads: usize,
    eps: f32,
) -> Result<()> {
    let op = HeadNorm { num_heads, eps };
    qkv.inplace_op3(query_weight, key_weight, &op)
}

struct HeadNorm {
    num_heads: usize,
    eps: f32,
}

struct Shape {
    #[cfg_attr(not(feature = "cuda"), expect(dead_code))]
    rows: usize,
    row_len: usize,
    kv_heads: usize,
    head_dim: usize,
}

impl InplaceOp3 for HeadNorm {
    fn name(&self) -> &'static str {
        "head_norm"
    }

    fn cpu_fwd(
        &self,
        qkv: &mut CpuStorage,
        qkv_layout: &Layout,
        query_weight: &CpuStorage,
        query_layout: &Layout,
        key_weight: &CpuStorage,
        key_layout: &Layout,
    ) -> Result<()> {
        let shape = self.check(qkv_layout, query_layout, key_layout)?;
        let query_weight = source::<f32>("head_norm: query weight", query_weight, query_layout)?;
        let key_weight = source::<f32>("head_norm: key weight", key_weight, key_layout)?;
        let qkv = destination("head_norm: qkv", qkv, qkv_layout)?;

        let level = SimdLevel::current();
        let query_len = self.num_heads * shape.head_dim;
        let key_len = shape.kv_heads * shape.head_dim;
        for_each_row(qkv, shape.row_len, TASK_VALUES, |_, row| {
            let (queries, rest) = row.split_at_mut(query_len);
            for (heads, weight) in [(queries, query_weight), (&mut rest[..key_len], key_weight)] {
                let eps = self.eps;
                dispatch(level, Heads { heads, weight, eps });
            }
        });
        Ok(())
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(
        &self,
        qkv: &mut CudaStorage,
        qkv_layout: &Layout,
        query_weight: &CudaStorage,
        query_layout: &Layout,
        key_weight: &CudaStorage,
        key_layout: &Layout,
    ) -> Result<()> {
        /// Values that a thread loads at once.
        const VECTOR: usize = 8;
        /// Values that a warp holds.
        const MAX_HEAD_DIM: usize = 256;
        let shape = self.check(qkv_layout, query_layout, key_layout)?;
        if !shape.head_dim.is_multiple_of(VECTOR) || shape.head_dim > MAX_HEAD_DIM {
            bail!(
                "head_norm: heads of {}: a GPU takes multiples of {VECTOR} up to {MAX_HEAD_DIM}",
                shape.head_dim
            );
        }
        let gpu = Gpu::of(&qkv.device)?;
        let qkv = operand("head_norm: qkv", qkv, qkv_layout)?;
        let element = qkv.element("head_norm: qkv")?;
        let arguments = arguments::HeadNorm {
            qkv: qkv.address,
            query_weight: operand("head_norm: query weight", query_weight, query_layout)?
                .of("head_norm: query weight", DType::F32)?,
            key_weight: operand("head_norm: key weight", key_weight, key_layout)?
                .of("head_norm: key weight", DType::F32)?,
            live: gpu.live_rows(shape.rows)?,
            heads: self.num_heads as u32,
            kv_heads: shape.kv_heads as u32,
            head_dim: shape.head_dim as u32,
            eps: self.eps,
        };
        // SAFETY: the shapes were checked.
        unsafe { gpu.launch(Some(element), 0, Grid::new(shape.rows, 1, 1), &arguments) }
    }
}

impl HeadNorm {
    fn check(&self, qkv: &Layout, query_weight: &Layout, key_weight: &Layout) -> Result<Shape> {
        let (rows, row_len) = qkv.shape().dims2()?;
        let head_dim = query_weight.shape().dims1()?;
        let all_heads = row_len.checked_div(head_dim).unwrap_or(0);
        let fits = key_weight.shape().dims1()? == head_dim
            && all_heads * head_dim == row_len
            && all_heads > self.num_heads
            && (all_heads - self.num_heads).is_multiple_of(2);
        if !fits {
            bail!(
                "head_norm: weights {:?} and {:?} don't fit {} heads in qkv {:?}",
                query_weight.shape(),
                key_weight.shape(),
                self.num_heads,
                qkv.shape()
            );
        }
        Ok(Shape {
            rows,
            row_len,
            kv_heads: (all_heads - self.num_heads) / 2,
            head_dim,
        })
    }
}

struct Heads<'a> {
    heads: &'a mut [f32],
    weight: &'a [f32],
    eps: f32,
}

impl Kernel for Heads<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let head_dim = self.weight.len();
        for head in self.heads.chunks_exact_mut(head_dim) {
            let scale = unsafe { root_scale::<S>(head, self.eps) };
            for i in 0..head_dim {
                head[i] = head[i] * scale * self.weight[i];
            }
        }
    }
}
