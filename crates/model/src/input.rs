//! The device tensors of one step.

use std::ops::Range;

use candle_core::{Device, Tensor};
use farthing_ops::{
    AttentionBatch, LoraRows, LoraSegment, LoraStack, lora, lora_expand, lora_shrink,
};

use crate::{
    LoraAdapter, ModelError, adapter_pool::AdapterPool, flat_batch::FlatBatch, lora::Projection,
    lora_stacks::LoraStacks, step_layout::StepTensors,
};

/// A batch as tensors. Rows are sorted by adapter, and their tokens are concatenated.
pub(crate) struct ModelInput<'a> {
    pub token_ids: Tensor, // u32 [tokens]
    pub positions: Tensor, // u32 [tokens]
    pub slots: Tensor,     // u32 [tokens], block * BLOCK_SIZE + offset
    pub attention: AttentionBatch,
    adapters: Adapters<'a>,
}

/// Which tokens use which adapter, in the form that the device needs.
enum Adapters<'a> {
    /// Ranges of tokens with their adapters.
    Segments(Vec<(Range<usize>, &'a LoraAdapter)>),
    /// Tiles of tokens, each with one slot.
    Slots(&'a LoraStacks, LoraRows),
}

impl<'a> ModelInput<'a> {
    /// Creates the tensors on the CPU.
    pub(crate) fn on_cpu(flat: &FlatBatch<'_>, pool: &'a AdapterPool) -> Result<Self, ModelError> {
        let device = &Device::Cpu;
        let adapters = flat
            .adapters
            .iter()
            .map(|(id, tokens)| Ok((tokens.clone(), pool.get(*id)?)))
            .collect::<Result<_, ModelError>>()?;
        let (block_tables, width) = flat.padded_block_tables();
        let rows = flat.block_tables.len();
        Ok(Self {
            attention: AttentionBatch {
                query_starts: Tensor::new(flat.query_starts.as_slice(), device)?,
                context_lens: Tensor::new(flat.context_lens.as_slice(), device)?,
                block_tables: Tensor::from_vec(block_tables, (rows, width), device)?,
                max_queries: flat.max_queries,
            },
            token_ids: Tensor::new(flat.token_ids.as_slice(), device)?,
            positions: Tensor::new(flat.positions.as_slice(), device)?,
            slots: Tensor::new(flat.slots.as_slice(), device)?,
            adapters: Adapters::Segments(adapters),
        })
    }

    /// Views of the tensors that were sent to a GPU.
    pub(crate) fn on_gpu(words: StepTensors, adapters: Option<(&'a LoraStacks, LoraRows)>) -> Self {
        Self {
            token_ids: words.token_ids,
            positions: words.positions,
            slots: words.slots,
            attention: words.attention,
            adapters: match adapters {
                Some((stacks, rows)) => Adapters::Slots(stacks, rows),
                None => Adapters::Segments(Vec::new()),
            },
        }
    }

    pub(crate) fn num_tokens(&self) -> usize {
        self.token_ids.elem_count()
    }

    /// Replaces the embeddings of tokens whose adapters change the embedding. `hidden [tokens,
    /// hidden]` holds the base model's. Adapters on a GPU never do that.
    pub(crate) fn embed_adapted(
        &self,
        hidden: &Tensor,
        scratch: &Tensor,
    ) -> Result<(), ModelError> {
        let Adapters::Segments(adapters) = &self.adapters else {
            return Ok(());
        };
        for (tokens, adapter) in adapters {
            if adapter.changes_embeddings() {
                let (start, len) = (tokens.start, tokens.len());
                let hidden = hidden.narrow(0, start, len)?;
                let token_ids = self.token_ids.narrow(0, start, len)?;
                adapter.embed(&hidden, &token_ids, scratch)?;
            }
        }
        Ok(())
    }

    /// The adapters' part of one projection of layer `layer`.
    pub(crate) fn adapters(&self, layer: usize, projection: Projection) -> LayerAdapters<'_> {
        match &self.adapters {
            Adapters::Segments(adapters) => {
                let segment = |(rows, adapter): &(Range<usize>, &'a LoraAdapter)| {
                    Some(LoraSegment {
                        rows: rows.clone(),
                        weight: adapter.layer(layer).get(projection)?,
                    })
                };
                LayerAdapters::Segments(adapters.iter().filter_map(segment).collect())
            }
            Adapters::Slots(stacks, rows) => {
                LayerAdapters::Slots(stacks.get(layer, projection), rows)
            }
        }
    }
}

/// The adapters of one fused linear layer with the tokens that use them.
pub(crate) enum LayerAdapters<'a> {
    Segments(Vec<LoraSegment<'a>>),
    Slots(&'a LoraStack, &'a LoraRows),
}

impl LayerAdapters<'_> {
    /// Starts the part that a GPU computes beside the base model's product of `x`. The caller starts
    /// that product next.
    pub(crate) fn begin(&self, x: &Tensor) -> Result<(), ModelError> {
        if let Self::Slots(stack, rows) = self {
            lora_shrink(x, stack, rows)?;
        }
        Ok(())
    }

    /// Adds the adapters' part to the base model's output, after [`begin`](Self::begin): see [`lora`].
    pub(crate) fn add(&self, out: &Tensor, x: &Tensor) -> Result<(), ModelError> {
        match self {
            Self::Segments(segments) => lora(out, x, segments)?,
            Self::Slots(stack, rows) => lora_expand(out, stack, rows)?,
        }
        Ok(())
    }

    /// Whether an adapter scales the base model's output. On a GPU none does.
    pub(crate) fn have_gains(&self) -> bool {
        match self {
            Self::Segments(segments) => segments.iter().any(|it| it.weight.gain.is_some()),
            Self::Slots(..) => false,
        }
    }
}
