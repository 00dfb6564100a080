//! Adapters side by side in slots on a GPU, so that one launch serves any mix of them.

#[cfg(feature = "cuda")]
use candle_core::CudaStorage;
use candle_core::{CpuStorage, DType, Device, InplaceOp2, Layout, Result, Tensor, bail};
use half::bf16;

use super::LoraWeight;
#[cfg(feature = "cuda")]
use crate::cuda::{Gpu, Grid, arguments, operand, tensor};

/// Tokens of a block.
#[cfg(feature = "cuda")]
const BLOCK_TOKENS: usize = 16;
/// Ranks of a block, and what a slot's rank is rounded up to.
const BLOCK_RANKS: usize = 16;
/// Columns of a block.
#[cfg(feature = "cuda")]
const BLOCK_COLUMNS: usize = 128;

/// The slots of one fused linear layer.
#[derive(Debug)]
pub struct LoraStack {
    /// `[slots · targets · max_rank, in_features]`
    a: Tensor,
    /// `[slots · out_features, max_rank]`
    b: Tensor,
    /// u32 `[slots · targets]`; 0 where an adapter leaves a target alone.
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
    /// Adapters that fit.
    pub slots: usize,
    /// Inputs of the layer, a multiple of 32.
    pub in_features: usize,
    /// Columns of each target, multiples of 32.
    pub targets: Vec<usize>,
    /// The largest rank of a target; rounded up to a multiple of 16.
    pub max_rank: usize,
}

/// Which tokens of a step have which adapter, and room for what happens to them.
#[derive(Debug)]
pub struct LoraRows {
    /// `[tokens]`: slots as i32, -1 for none, kept as u32.
    pub token_slots: Tensor,
    /// f32, at least [`LoraStackShape::shrunk_len`] for this number of tokens.
    pub shrunk: Tensor,
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

    /// Elements of the shrunk activations of a step with `tokens` tokens.
    pub fn shrunk_len(&self, tokens: usize) -> usize {
        splits(tokens) * tokens * self.targets.len() * self.max_rank()
    }
}

/// Parts that the inputs are summed in, so that a few tokens keep the device busy too.
fn splits(tokens: usize) -> usize {
    match tokens {
        0..256 => 8,
        256..512 => 2,
        _ => 1,
    }
}

impl LoraStack {
    /// Empty slots on a GPU.
    ///
    /// # Errors
    /// A size isn't the multiple that it has to be, or memory ran out.
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

    /// Puts an adapter into a slot; none leaves the layer alone.
    ///
    /// # Errors
    /// It is of another shape, of a larger rank, not [staged](crate::LinearWeightBuilder::staged),
    /// or has a gain.
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

    /// The target whose columns begin there.
    fn target_at(&self, out_offset: usize) -> Option<usize> {
        let mut start = 0;
        self.shape.targets.iter().position(|columns| {
            let begins = start == out_offset;
            start += columns;
            begins
        })
    }
}

/// Adds each token's adapter: `out [m, out_features] += B · A · x [m, in_features]`, by the slots
/// of `rows`.
///
/// # Errors
/// A shape or a type doesn't fit, or the tensors are not on a GPU.
pub fn lora_slots(out: &Tensor, x: &Tensor, stack: &LoraStack, rows: &LoraRows) -> Result<()> {
    out.inplace_op2(x, &LoraSlots { stack, rows })
}

struct LoraSlots<'a> {
    #[cfg_attr(not(feature = "cuda"), expect(dead_code))]
    stack: &'a LoraStack,
    #[cfg_attr(not(feature = "cuda"), expect(dead_code))]
    rows: &'a LoraRows,
}

impl InplaceOp2 for LoraSlots<'_> {
    fn name(&self) -> &'static str {
        "lora_slots"
    }

    fn cpu_fwd(&self, _: &mut CpuStorage, _: &Layout, _: &CpuStorage, _: &Layout) -> Result<()> {
        bail!("lora_slots: the CPU has its adapters in segments of rows: use `lora`")
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(
        &self,
        out: &mut CudaStorage,
        out_layout: &Layout,
        x: &CudaStorage,
        x_layout: &Layout,
    ) -> Result<()> {
        let shape = &self.stack.shape;
        let (tokens, out_features) = out_layout.shape().dims2()?;
        let slots = self.rows.token_slots.dims1()?;
        let (max_rank, targets) = (shape.max_rank(), shape.targets.len());
        if x_layout.shape().dims2()? != (tokens, shape.in_features)
            || out_features != shape.out_features()
            || slots != tokens
            || self.rows.shrunk.elem_count() < shape.shrunk_len(tokens)
        {
            bail!(
                "lora_slots: x {:?}, out {:?}, {slots} slots and room for {} do not fit {shape:?}",
                x_layout.shape(),
                out_layout.shape(),
                self.rows.shrunk.elem_count()
            );
        }
        let gpu = Gpu::of(&out.device)?;
        let out = operand("lora: out", out, out_layout)?;
        let element = out.element("lora: out")?;
        let of = |name, it, dtype| tensor(name, it)?.of(name, dtype);
        let token_slots = of("lora: token_slots", &self.rows.token_slots, DType::U32)?;
        let ranks = of("lora: ranks", &self.stack.ranks, DType::U32)?;
        let partial = of("lora: shrunk", &self.rows.shrunk, DType::F32)?;
        let splits = splits(tokens);
        let blocks = tokens.div_ceil(BLOCK_TOKENS);
        let shrink = arguments::LoraShrink {
            partial,
            x: operand("lora: x", x, x_layout)?.of("lora: x", element)?,
            a: of("lora: a", &self.stack.a, element)?,
            token_slots,
            ranks,
            live: gpu.live_rows(tokens)?,
            tokens_cap: tokens as u32,
            in_features: shape.in_features as u32,
            targets: targets as u32,
            max_rank: max_rank as u32,
        };
        let expand = arguments::LoraExpand {
            out: out.address,
            partial,
            b: of("lora: b", &self.stack.b, element)?,
            token_slots,
            ranks,
            scales: of("lora: scales", &self.stack.scales, DType::F32)?,
            // None: adapters that have them are refused where they are put into a slot.
            gains: 0,
            biases: 0,
            target_ends: of("lora: target_ends", &self.stack.target_ends, DType::U32)?,
            live: gpu.live_rows(tokens)?,
            tokens_cap: tokens as u32,
            out_features: out_features as u32,
            targets: targets as u32,
            max_rank: max_rank as u32,
            splits: splits as u32,
        };
        let shrink_grid = Grid::new(blocks, targets * max_rank / BLOCK_RANKS, splits);
        let expand_grid = Grid::new(blocks, out_features.div_ceil(BLOCK_COLUMNS), 1)
            .shared(32 * targets * (max_rank + 16));
        // SAFETY: the shapes were checked; slots are the caller's word.
        unsafe {
            gpu.launch(Some(element), 0, shrink_grid, &shrink)?;
            gpu.launch(Some(element), 0, expand_grid, &expand)
        }
    }
}
