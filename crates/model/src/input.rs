//! The device tensors of one step.

use std::ops::Range;

use candle_core::{Device, Tensor};
use farthing_ops::{AttentionBatch, LoraSegment, LoraWeight};
use farthing_scheduler::{AdapterId, Batch, BatchRow};

use crate::{
    LoraAdapter, ModelError, adapter_pool::AdapterPool, kv_cache::BLOCK_SIZE, lora::LoraLayer,
};

/// A batch as the model reads it: rows of one adapter stand together, tokens are flattened.
pub(crate) struct ModelInput<'a> {
    pub token_ids: Tensor, // u32 [tokens]
    pub positions: Tensor, // u32 [tokens]
    pub slots: Tensor,     // u32 [tokens], block * BLOCK_SIZE + offset
    pub attention: AttentionBatch,
    /// Where each row of the batch has its tokens, in the batch's own order.
    pub row_tokens: Vec<Range<usize>>,
    adapters: Vec<(Range<usize>, &'a LoraAdapter)>,
}

impl<'a> ModelInput<'a> {
    pub(crate) fn new(
        batch: &Batch,
        pool: &'a AdapterPool,
        device: &Device,
    ) -> Result<Self, ModelError> {
        let mut order: Vec<usize> = (0..batch.rows.len()).collect();
        order.sort_by_key(|&i| batch.rows[i].adapter);

        let mut flat = FlatBatch::default();
        let mut row_tokens = vec![0..0; batch.rows.len()];
        let mut adapters: Vec<(AdapterId, Range<usize>)> = Vec::new();
        let table_width = batch
            .rows
            .iter()
            .map(|row| row.block_table.len())
            .max()
            .unwrap_or(0);
        for &i in &order {
            let row = &batch.rows[i];
            let tokens = flat.push(row, table_width);
            if let Some(id) = row.adapter {
                match adapters.last_mut() {
                    Some((last, range)) if *last == id => range.end = tokens.end,
                    _ => adapters.push((id, tokens.clone())),
                }
            }
            row_tokens[i] = tokens;
        }
        let adapters = adapters
            .into_iter()
            .map(|(id, rows)| Ok((rows, pool.get(id)?)))
            .collect::<Result<_, ModelError>>()?;
        let num_rows = batch.rows.len();
        Ok(Self {
            attention: AttentionBatch {
                query_starts: Tensor::new(flat.query_starts, device)?,
                context_lens: Tensor::new(flat.context_lens, device)?,
                block_tables: Tensor::from_vec(flat.block_tables, (num_rows, table_width), device)?,
            },
            token_ids: Tensor::new(flat.token_ids, device)?,
            positions: Tensor::new(flat.positions, device)?,
            slots: Tensor::new(flat.slots, device)?,
            row_tokens,
            adapters,
        })
    }

    pub(crate) fn num_tokens(&self) -> usize {
        self.token_ids.elem_count()
    }

    /// Embeds the tokens of adapters that embed them otherwise than the base did in
    /// `hidden [tokens, hidden]`.
    pub(crate) fn embed_adapted(
        &self,
        hidden: &Tensor,
        scratch: &Tensor,
    ) -> Result<(), ModelError> {
        for (tokens, adapter) in &self.adapters {
            if adapter.changes_embeddings() {
                let (start, len) = (tokens.start, tokens.len());
                let hidden = hidden.narrow(0, start, len)?;
                let token_ids = self.token_ids.narrow(0, start, len)?;
                adapter.embed(&hidden, &token_ids, scratch)?;
            }
        }
        Ok(())
    }

    /// The adapters of some tokens, given in ascending order: which of them each has, counted
    /// from the first of them.
    pub(crate) fn adapters_of(&self, tokens: &[u32]) -> Vec<(Range<usize>, &'a LoraAdapter)> {
        let before = |end: usize| tokens.partition_point(|&token| (token as usize) < end);
        let all = self
            .adapters
            .iter()
            .map(|(range, adapter)| (before(range.start)..before(range.end), *adapter));
        all.filter(|(tokens, _)| !tokens.is_empty()).collect()
    }

    /// The deltas of one weight of layer `layer`, with the tokens that each applies to.
    pub(crate) fn lora_segments(
        &self,
        layer: usize,
        weight: impl Fn(&LoraLayer) -> &Option<LoraWeight>,
    ) -> Vec<LoraSegment<'a>> {
        let segment = |(rows, adapter): &(Range<usize>, &'a LoraAdapter)| {
            let weight = weight(adapter.layer(layer)).as_ref()?;
            Some(LoraSegment {
                rows: rows.clone(),
                weight,
            })
        };
        self.adapters.iter().filter_map(segment).collect()
    }
}

/// The batch's numbers laid end to end, before they go to the device.
struct FlatBatch {
    token_ids: Vec<u32>,
    positions: Vec<u32>,
    slots: Vec<u32>,
    query_starts: Vec<u32>, // [rows + 1]
    context_lens: Vec<u32>, // [rows]
    block_tables: Vec<u32>, // [rows, table_width]
}

impl Default for FlatBatch {
    fn default() -> Self {
        Self {
            token_ids: Vec::new(),
            positions: Vec::new(),
            slots: Vec::new(),
            query_starts: vec![0],
            context_lens: Vec::new(),
            block_tables: Vec::new(),
        }
    }
}

impl FlatBatch {
    /// Appends a row and says which tokens are its.
    fn push(&mut self, row: &BatchRow, table_width: usize) -> Range<usize> {
        let first = self.token_ids.len();
        self.token_ids.extend(&row.tokens);
        let end = row.start + row.tokens.len();
        for position in row.start..end {
            let block = row.block_table[position / BLOCK_SIZE].0;
            self.positions.push(position as u32);
            self.slots
                .push(block * BLOCK_SIZE as u32 + (position % BLOCK_SIZE) as u32);
        }
        self.query_starts.push(self.token_ids.len() as u32);
        self.context_lens.push(end as u32);
        self.block_tables
            .extend(row.block_table.iter().map(|block| block.0));
        let padding = table_width - row.block_table.len();
        self.block_tables.extend(std::iter::repeat_n(0, padding));
        first..self.token_ids.len()
    }
}
