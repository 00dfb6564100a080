//! The paged keys and values of one layer.

use candle_core::{DType, Device, Result, Tensor, bail};
use half::bf16;

use crate::linear_weight::PANEL;
use crate::simd::Activation;

/// Tokens of a block: one panel of keys.
pub const BLOCK_SIZE: usize = PANEL;

/// Head sizes that the GPU kernels support.
const GPU_HEAD_DIMS: [usize; 3] = [64, 96, 128];

/// The keys and values of one layer in blocks of [`BLOCK_SIZE`] tokens; token `t` of a sequence
/// lies in slot `block_table[t / 16] * 16 + t % 16`.
///
/// On the CPU every `(block, kv_head)` holds a panel of keys and panels of values in the layouts
/// of [`crate::LinearWeight`], so that scores and weighted sums run on the same kernel as the
/// linear layers: keys are a matrix of 16 tokens by `head_dim`, values are one of `head_dim`
/// (padded to 16) by 16 tokens. On a GPU it is `[num_blocks, 2, kv_heads, 16, head_dim]`, keys
/// before values.
#[derive(Debug)]
pub struct KvCacheLayer {
    blocks: Tensor,
    num_kv_heads: usize,
    head_dim: usize,
}

impl KvCacheLayer {
    /// An empty cache of `num_blocks` blocks.
    ///
    /// # Errors
    /// `block_size` isn't 16, `head_dim` is odd or has no kernels, a size is zero, or `dtype` is
    /// neither `BF16` nor, on the CPU, `F32`.
    pub fn zeros(
        num_blocks: usize,
        block_size: usize,
        num_kv_heads: usize,
        head_dim: usize,
        dtype: DType,
        device: &Device,
    ) -> Result<Self> {
        if block_size != BLOCK_SIZE {
            bail!("the cache has blocks of {BLOCK_SIZE} tokens, not of {block_size}");
        }
        if num_blocks == 0 || num_kv_heads == 0 || head_dim == 0 || !head_dim.is_multiple_of(2) {
            bail!(
                "a cache needs blocks, heads and an even head_dim, not {num_blocks} blocks of {num_kv_heads} heads of {head_dim}"
            );
        }
        let blocks = match device {
            Device::Cpu => {
                if !matches!(dtype, DType::BF16 | DType::F32) {
                    bail!("keys and values are kept as BF16 or F32, not as {dtype:?}");
                }
                let head_len = Self::keys_len(head_dim) + Self::values_len(head_dim);
                Tensor::zeros((num_blocks, num_kv_heads, head_len), dtype, device)?
            }
            _ => {
                if !matches!(dtype, DType::BF16 | DType::F16) {
                    bail!("keys and values are kept as BF16 or F16 on a GPU, not as {dtype:?}");
                }
                if !GPU_HEAD_DIMS.contains(&head_dim) {
                    bail!(
                        "attention on a GPU has heads of {GPU_HEAD_DIMS:?}, not of {head_dim}: \
                         use the CPU for this model"
                    );
                }
                let shape = (num_blocks, 2, num_kv_heads, BLOCK_SIZE, head_dim);
                Tensor::zeros(shape, dtype, device)?
            }
        };
        Ok(Self {
            blocks,
            num_kv_heads,
            head_dim,
        })
    }

    /// Blocks in the layer.
    pub fn num_blocks(&self) -> usize {
        self.blocks.dims()[0]
    }

    /// Number of key and value heads.
    pub fn num_kv_heads(&self) -> usize {
        self.num_kv_heads
    }

    /// Size of a head.
    pub fn head_dim(&self) -> usize {
        self.head_dim
    }

    /// `BF16` or `F32`.
    pub fn dtype(&self) -> DType {
        self.blocks.dtype()
    }

    /// Size on the device, padding included.
    pub fn size_bytes(&self) -> usize {
        self.blocks.elem_count() * self.dtype().size_in_bytes()
    }

    /// The storage, `[num_blocks, …]`, in the device's layout.
    pub(crate) fn blocks(&self) -> &Tensor {
        &self.blocks
    }

    /// Elements of the key panel of one head in one block.
    pub(crate) fn keys_len(head_dim: usize) -> usize {
        head_dim * BLOCK_SIZE
    }

    /// Elements of the value panels of one head in one block.
    pub(crate) fn values_len(head_dim: usize) -> usize {
        head_dim.next_multiple_of(PANEL) * BLOCK_SIZE
    }
}

/// An element type of keys and values.
pub(crate) trait CacheElement: Activation + Send + Sync {
    /// The position in a panel of the weight from `input` to output `lane`; see
    /// [`crate::LinearWeight`].
    fn index(input: usize, lane: usize) -> usize;
}

impl CacheElement for bf16 {
    #[inline(always)]
    fn index(input: usize, lane: usize) -> usize {
        (input / 2 * PANEL + lane) * 2 + input % 2
    }
}

impl CacheElement for f32 {
    #[inline(always)]
    fn index(input: usize, lane: usize) -> usize {
        input * PANEL + lane
    }
}
