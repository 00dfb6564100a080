//! LoRA adapters in slots on a GPU. One launch serves any mix of them.

use std::ops::Range;

#[cfg(feature = "cuda")]
use candle_core::CudaStorage;
use candle_core::{CpuStorage, DType, Device, InplaceOp1, Layout, Result, Tensor, bail};
use half::bf16;

use super::LoraWeight;
#[cfg(feature = "cuda")]
use crate::cuda::{Gpu, Grid, arguments, operand, tensor};

/// Maximum number of tokens of a tile.
const TILE_TOKENS: usize = 16;
/// Words per tile: slot, first token, number of tokens, padding.
pub const LORA_TILE_WORDS: usize = 4;
/// Ranks per block. A slot's rank is rounded up to a multiple of it.
const BLOCK_RANKS: usize = 16;
/// Columns per block.
#[cfg(feature = "cuda")]
const BLOCK_COLUMNS: usize = 128;
/// Minimum number of inputs that a block sums.
#[cfg(feature = "cuda")]
const SPLIT_INPUTS: usize = 512;
/// Number of blocks that keeps any GPU busy. More blocks would only add partial sums.
const BUSY_BLOCKS: usize = 1024;

/// The slots of one fused linear layer.
#[derive(Debug)]
pub struct LoraStack {
    /// `[slots · targets · max_rank, in_features]`
    a: Tensor,
    /// `[slots · out_features, max_rank]`
    b: Tensor,
    /// u32 `[slots · targets]`; 0 if an adapter does not change a target.
    ranks: Tensor,
    /// f32 `[slots · targets]`
    #[cfg_attr(not(feature = "cuda"), expect(dead_code))]
    scales: Tensor,
    /// u32 `[targets]`
    #[cfg_attr(not(feature = "cuda"), expect(dead_code))]
    target_ends: Tensor,
    shape: LoraStackShape,
}

/// The size of a [`LoraStack`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoraStackShape {
    /// Number of adapters.
    pub slots: usize,
    /// Inputs of the layer, a multiple of 32.
    pub in_features: usize,
    /// Columns of each target, multiples of 32.
    pub targets: Vec<usize>,
    /// The largest rank of a target; rounded up to a multiple of 16.
    pub max_rank: usize,
}

/// Which tokens of a step use which adapter, and the buffers that this needs.
#[derive(Debug)]
pub struct LoraRows {
    /// u32 `[tiles, 4]`, see [`lora_tiles`].
    pub tiles: Tensor,
    /// Buffers for the intermediate results.
    pub scratch: LoraScratch,
}

/// Buffers for the activations between A and B.
#[cfg_attr(not(feature = "cuda"), expect(dead_code))]
#[derive(Clone, Debug)]
pub struct LoraScratch {
    /// The shrunk activations, in the type of the activations.
    shrunk: Tensor,
    /// Partial sums of the shrunk activations, f32.
    partial: Tensor,
    /// Number of partial sums that are complete, u32. Zeros between launches.
    arrived: Tensor,
}

/// Maximum number of tiles for `tokens` tokens that use `adapters` adapters.
pub fn max_lora_tiles(tokens: usize, adapters: usize) -> usize {
    (tokens + (TILE_TOKENS - 1) * adapters.min(tokens)) / TILE_TOKENS
}

/// Divides the tokens of each adapter into tiles of at most 16 tokens. `adapters` yields each adapter's
/// slot and its range of tokens. Writes u32 `[tiles, 4]` to `words`: slot, first token, number of tokens,
/// padding. Unused tiles at the end get no tokens.
///
/// # Panics
/// `words` has room for fewer tiles than [`max_lora_tiles`] returns.
pub fn lora_tiles(adapters: impl IntoIterator<Item = (usize, Range<usize>)>, words: &mut [u32]) {
    let mut free = words.chunks_exact_mut(LORA_TILE_WORDS);
    for (slot, tokens) in adapters {
        for first in tokens.clone().step_by(TILE_TOKENS) {
            let count = TILE_TOKENS.min(tokens.end - first);
            let tile = free.next().expect("room for every tile");
            tile.copy_from_slice(&[slot as u32, first as u32, count as u32, 0]);
        }
    }
    free.for_each(|tile| tile.fill(0));
}

impl LoraScratch {
    /// Buffers for steps of at most `tiles` tiles with stacks of any of the shapes.
    ///
    /// # Errors
    /// Memory ran out.
    pub fn new(
        shapes: &[LoraStackShape],
        tiles: usize,
        dtype: DType,
        device: &Device,
    ) -> Result<Self> {
        let ranks = |shape: &LoraStackShape| shape.targets.len() * shape.max_rank();
        let ranks = shapes.iter().map(ranks).max().unwrap_or(0);
        let places = tiles * ranks / BLOCK_RANKS;
        let partial = (places + BUSY_BLOCKS) * TILE_TOKENS * BLOCK_RANKS;
        Ok(Self {
            shrunk: Tensor::zeros(tiles * TILE_TOKENS * ranks, dtype, device)?,
            partial: Tensor::zeros(partial, DType::F32, device)?,
            arrived: Tensor::zeros(places, DType::U32, device)?,
        })
    }
}

impl LoraStackShape {
    fn max_rank(&self) -> usize {
        self.max_rank.max(1).next_multiple_of(BLOCK_RANKS)
    }

    fn out_features(&self) -> usize {
        self.targets.iter().sum()
    }

    /// Bytes of a slot, at 16 bits an element.
    pub fn slot_bytes(&self) -> usize {
        let elements = self.targets.len() * self.in_features + self.out_features();
        elements * self.max_rank() * size_of::<bf16>()
    }

    /// Blocks of the shrink kernel per split.
    #[cfg(feature = "cuda")]
    fn places(&self, tiles: usize) -> usize {
        tiles * self.targets.len() * self.max_rank() / BLOCK_RANKS
    }

    /// Number of parts that the inputs are divided into, so that a few tokens also keep the device busy.
    #[cfg(feature = "cuda")]
    fn splits(&self, tiles: usize) -> usize {
        let most = BUSY_BLOCKS.div_ceil(self.places(tiles));
        (self.in_features / SPLIT_INPUTS).min(most).max(1)
    }
}

impl LoraStack {
    /// Allocates empty slots on a GPU.
    ///
    /// # Errors
    /// A size is not the required multiple, or memory ran out.
    pub fn new(shape: LoraStackShape, dtype: DType, device: &Device) -> Result<Self> {
        let max_rank = shape.max_rank();
        let targets = shape.targets.len();
        let sizes = shape.targets.iter().chain([&shape.in_features]);
        if let Some(size) = sizes.into_iter().find(|size| !size.is_multiple_of(32)) {
            bail!("lora: {size} is not a multiple of 32, which adapters on a GPU need");
        }
        let mut end = 0;
        let ends: Vec<u32> = shape
            .targets
            .iter()
            .map(|columns| {
                end += *columns as u32;
                end
            })
            .collect();
        let rows = shape.slots * targets;
        Ok(Self {
            a: Tensor::zeros((rows * max_rank, shape.in_features), dtype, device)?,
            b: Tensor::zeros(
                (shape.slots * shape.out_features(), max_rank),
                dtype,
                device,
            )?,
            ranks: Tensor::zeros(rows, DType::U32, device)?,
            scales: Tensor::ones(rows, DType::F32, device)?,
            target_ends: Tensor::new(ends, device)?,
            shape,
        })
    }

    /// Copies an adapter to a slot. `None` clears the slot, so that it does not change the layer.
    ///
    /// # Errors
    /// The adapter has another shape or a larger rank, is not
    /// [staged](crate::LinearWeightBuilder::staged), or has a gain.
    pub fn fill(&self, slot: usize, weight: Option<&LoraWeight>) -> Result<()> {
        let shape = &self.shape;
        if slot >= shape.slots {
            bail!("lora: slot {slot} of {}", shape.slots);
        }
        if weight.is_some_and(|weight| weight.gain.is_some() || weight.bias.is_some()) {
            bail!("lora: a GPU takes no adapter with a gain (DoRA) or a bias");
        }
        let max_rank = shape.max_rank();
        let targets = shape.targets.len();
        let mut ranks = vec![0_u32; targets];
        for (weight, expand) in weight
            .iter()
            .flat_map(|it| it.expand.iter().map(move |e| (it, e)))
        {
            let Some(target) = self.target_at(expand.out_offset) else {
                bail!("lora: no target begins at column {}", expand.out_offset);
            };
            let rank = expand.weight.in_features();
            if rank > max_rank || expand.weight.out_features() != shape.targets[target] {
                bail!(
                    "lora: an adapter of rank {rank} and {} columns for slots of rank {max_rank} and {} columns: raise max_lora_rank",
                    expand.weight.out_features(),
                    shape.targets[target]
                );
            }
            let a = weight.shrink.staged_rows()?;
            let a = &a[expand.shrink_offset * shape.in_features..][..rank * shape.in_features];
            let a = Tensor::from_slice(a, (rank, shape.in_features), self.a.device())?;
            self.a
                .slice_set(&a, 0, (slot * targets + target) * max_rank)?;

            let mut b = vec![bf16::ZERO; shape.targets[target] * max_rank];
            let rows = expand.weight.staged_rows()?;
            for (to, row) in b.chunks_exact_mut(max_rank).zip(rows.chunks_exact(rank)) {
                to[..rank].copy_from_slice(row);
            }
            let b = Tensor::from_vec(b, (shape.targets[target], max_rank), self.b.device())?;
            self.b
                .slice_set(&b, 0, slot * shape.out_features() + expand.out_offset)?;
            ranks[target] = rank as u32;
        }
        let ranks = Tensor::new(ranks, self.ranks.device())?;
        self.ranks.slice_set(&ranks, 0, slot * targets)
    }

    /// The target whose columns begin at `out_offset`.
    fn target_at(&self, out_offset: usize) -> Option<usize> {
        let mut start = 0;
        self.shape.targets.iter().position(|columns| {
            let begins = start == out_offset;
            start += columns;
            begins
        })
    }
}

/// Computes the first half of each token's adapter, `scale · A · x [m, in_features]`, into the buffers of
/// `rows`. It runs concurrently with the work that is started until [`lora_expand`].
///
/// # Errors
/// A shape or a type does not match, or the tensors are not on a GPU.
pub fn lora_shrink(x: &Tensor, stack: &LoraStack, rows: &LoraRows) -> Result<()> {
    x.inplace_op1(&LoraShrink(LoraCall { stack, rows }))
}

/// Computes the second half: `out [m, out_features] += B · shrunk`, with the result of the last
/// [`lora_shrink`] for the same `stack` and `rows`.
///
/// # Errors
/// A shape or a type does not match, or the tensors are not on a GPU.
pub fn lora_expand(out: &Tensor, stack: &LoraStack, rows: &LoraRows) -> Result<()> {
    out.inplace_op1(&LoraExpandSlots(LoraCall { stack, rows }))
}

/// The arguments of both halves.
#[cfg_attr(not(feature = "cuda"), expect(dead_code))]
struct LoraCall<'a> {
    stack: &'a LoraStack,
    rows: &'a LoraRows,
}

struct LoraShrink<'a>(#[cfg_attr(not(feature = "cuda"), expect(dead_code))] LoraCall<'a>);

struct LoraExpandSlots<'a>(#[cfg_attr(not(feature = "cuda"), expect(dead_code))] LoraCall<'a>);

#[cfg(feature = "cuda")]
impl LoraCall<'_> {
    /// The number of tiles. Checks the buffers and the number of columns.
    fn tiles(&self, columns: usize, expected: usize) -> Result<usize> {
        let shape = &self.stack.shape;
        let LoraScratch {
            shrunk,
            partial,
            arrived,
        } = &self.rows.scratch;
        let (tiles, words) = self.rows.tiles.dims2()?;
        let places = shape.places(tiles);
        let elements = TILE_TOKENS * BLOCK_RANKS;
        if columns != expected
            || words != LORA_TILE_WORDS
            || shrunk.elem_count() < places * elements
            || partial.elem_count() < shape.splits(tiles) * places * elements
            || arrived.elem_count() < places
        {
            bail!(
                "lora: {columns} columns and {tiles} tiles of {words} words do not fit {shape:?}"
            );
        }
        Ok(tiles)
    }
}

impl InplaceOp1 for LoraShrink<'_> {
    fn name(&self) -> &'static str {
        "lora_shrink"
    }

    fn cpu_fwd(&self, _: &mut CpuStorage, _: &Layout) -> Result<()> {
        bail!("lora_shrink: the CPU has its adapters in segments of rows: use `lora`")
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(&self, x: &mut CudaStorage, x_layout: &Layout) -> Result<()> {
        let LoraCall { stack, rows } = &self.0;
        let shape = &stack.shape;
        let tiles = self
            .0
            .tiles(x_layout.shape().dims2()?.1, shape.in_features)?;
        let gpu = Gpu::of(&x.device)?;
        let x = operand("lora: x", x, x_layout)?;
        let element = x.element("lora: x")?;
        let of = |name, it, dtype| tensor(name, it)?.of(name, dtype);
        let arguments = arguments::LoraShrink {
            shrunk: of("lora: shrunk", &rows.scratch.shrunk, element)?,
            partial: of("lora: partial", &rows.scratch.partial, DType::F32)?,
            arrived: of("lora: arrived", &rows.scratch.arrived, DType::U32)?,
            x: x.address,
            a: of("lora: a", &stack.a, element)?,
            tiles: of("lora: tiles", &rows.tiles, DType::U32)?,
            ranks: of("lora: ranks", &stack.ranks, DType::U32)?,
            scales: of("lora: scales", &stack.scales, DType::F32)?,
            in_features: shape.in_features as u32,
            targets: shape.targets.len() as u32,
            max_rank: shape.max_rank() as u32,
        };
        let blocks = shape.places(tiles) / tiles.max(1);
        let grid = Grid::new(tiles, blocks, shape.splits(tiles));
        // SAFETY: the shapes were checked. The caller is responsible for the content of `tiles`.
        unsafe { gpu.launch_beside(element, grid, &arguments) }
    }
}

impl InplaceOp1 for LoraExpandSlots<'_> {
    fn name(&self) -> &'static str {
        "lora_expand"
    }

    fn cpu_fwd(&self, _: &mut CpuStorage, _: &Layout) -> Result<()> {
        bail!("lora_expand: the CPU has its adapters in segments of rows: use `lora`")
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(&self, out: &mut CudaStorage, out_layout: &Layout) -> Result<()> {
        let LoraCall { stack, rows } = &self.0;
        let shape = &stack.shape;
        let out_features = out_layout.shape().dims2()?.1;
        let tiles = self.0.tiles(out_features, shape.out_features())?;
        let gpu = Gpu::of(&out.device)?;
        let out = operand("lora: out", out, out_layout)?;
        let element = out.element("lora: out")?;
        let of = |name, it, dtype| tensor(name, it)?.of(name, dtype);
        let arguments = arguments::LoraExpand {
            out: out.address,
            shrunk: of("lora: shrunk", &rows.scratch.shrunk, element)?,
            b: of("lora: b", &stack.b, element)?,
            tiles: of("lora: tiles", &rows.tiles, DType::U32)?,
            ranks: of("lora: ranks", &stack.ranks, DType::U32)?,
            // Null: `fill` rejects adapters that have gains.
            gains: 0,
            biases: 0,
            target_ends: of("lora: target_ends", &stack.target_ends, DType::U32)?,
            out_features: out_features as u32,
            targets: shape.targets.len() as u32,
            max_rank: shape.max_rank() as u32,
        };
        let grid = Grid::new(tiles, out_features.div_ceil(BLOCK_COLUMNS), 1);
        gpu.join()?;
        // SAFETY: as above.
        unsafe { gpu.launch(Some(element), 0, grid, &arguments) }
    }
}
