//! The layout of a step's numbers in the buffer that is sent to a GPU.

#[cfg(test)]
mod tests;

use std::ops::Range;

use candle_core::Tensor;
use farthing_ops::{AttentionBatch, DeviceSampler, LORA_TILE_WORDS, UploadTable, lora_tiles};

use crate::{ModelError, flat_batch::FlatBatch};

/// The regions of a step, one after the other, sized for a maximum number of tokens and rows.
/// Smaller steps use the same regions, because a graph reads them where they were when it was
/// recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct StepLayout {
    pub tokens: usize,
    pub rows: usize,
    /// Maximum number of rows that sample a token.
    pub samples: usize,
    /// Tiles of tokens that have an adapter.
    pub lora_tiles: usize,
    /// Blocks of the longest sequence.
    pub table_width: usize,
}

/// The regions as tensors on the device.
pub(crate) struct StepTensors {
    pub live: Tensor,       // u32 [1]
    pub token_ids: Tensor,  // u32 [tokens]
    pub positions: Tensor,  // u32 [tokens]
    pub slots: Tensor,      // u32 [tokens]
    pub lora_tiles: Tensor, // u32 [lora_tiles, 4]
    pub attention: AttentionBatch,
    pub last_tokens: Tensor, // u32 [samples]
    pub parameters: Tensor,  // u32 [samples · PARAMETER_WORDS]
}

impl StepLayout {
    /// Total words of all regions.
    pub(crate) fn words(&self) -> usize {
        self.block_tables().end
    }

    /// One number: how many rows, from the first, are live.
    fn live(&self) -> Range<usize> {
        0..1
    }

    fn token_ids(&self) -> Range<usize> {
        after(self.live(), self.tokens)
    }

    fn positions(&self) -> Range<usize> {
        after(self.token_ids(), self.tokens)
    }

    fn slots(&self) -> Range<usize> {
        after(self.positions(), self.tokens)
    }

    fn lora_tiles(&self) -> Range<usize> {
        after(self.slots(), self.lora_tiles * LORA_TILE_WORDS)
    }

    fn query_starts(&self) -> Range<usize> {
        after(self.lora_tiles(), self.rows + 1)
    }

    fn context_lens(&self) -> Range<usize> {
        after(self.query_starts(), self.rows)
    }

    fn last_tokens(&self) -> Range<usize> {
        after(self.context_lens(), self.samples)
    }

    /// The sampling parameters.
    pub(crate) fn parameters(&self) -> Range<usize> {
        after(
            self.last_tokens(),
            self.samples * DeviceSampler::PARAMETER_WORDS,
        )
    }

    fn block_tables(&self) -> Range<usize> {
        after(self.parameters(), self.rows * self.table_width)
    }

    /// The part of the block tables that a batch uses: usually a few columns of those for the
    /// longest sequence. All other regions come before it.
    pub(crate) fn block_table(&self, batch: &FlatBatch<'_>) -> UploadTable {
        let tables = batch.block_tables.iter();
        UploadTable {
            start: self.block_tables().start,
            rows: batch.block_tables.len(),
            columns: tables.map(|table| table.len()).max().unwrap_or(0),
            pitch: self.table_width,
        }
    }

    /// Writes a batch of at most this size. `adapter_slots` has one entry per adapter of the batch,
    /// `last_tokens` one per sample. Words beyond the batch's end are left unchanged, except the
    /// tiles, which are emptied.
    pub(crate) fn write(
        &self,
        words: &mut [u32],
        batch: &FlatBatch<'_>,
        adapter_slots: &[usize],
        last_tokens: &[u32],
    ) {
        let mut put = |region: Range<usize>, values: &[u32]| {
            words[region][..values.len()].copy_from_slice(values);
        };
        put(self.live(), &[batch.token_ids.len() as u32]);
        put(self.token_ids(), &batch.token_ids);
        put(self.positions(), &batch.positions);
        put(self.slots(), &batch.slots);
        put(self.query_starts(), &batch.query_starts);
        put(self.context_lens(), &batch.context_lens);
        put(self.last_tokens(), last_tokens);
        let ranges = batch.adapters.iter().map(|(_, tokens)| tokens.clone());
        let slots = adapter_slots.iter().copied();
        lora_tiles(slots.zip(ranges), &mut words[self.lora_tiles()]);
        let tables = words[self.block_tables()].chunks_exact_mut(self.table_width.max(1));
        for (to, table) in tables.zip(&batch.block_tables) {
            for (to, block) in to.iter_mut().zip(*table) {
                *to = block.0;
            }
        }
    }

    /// The regions of `words` as tensors, for rows of at most `max_queries` tokens.
    pub(crate) fn tensors(
        &self,
        words: &Tensor,
        max_queries: usize,
    ) -> Result<StepTensors, ModelError> {
        let view = |region: Range<usize>| words.narrow(0, region.start, region.len());
        Ok(StepTensors {
            live: view(self.live())?,
            token_ids: view(self.token_ids())?,
            positions: view(self.positions())?,
            slots: view(self.slots())?,
            lora_tiles: view(self.lora_tiles())?.reshape((self.lora_tiles, LORA_TILE_WORDS))?,
            attention: AttentionBatch {
                query_starts: view(self.query_starts())?,
                context_lens: view(self.context_lens())?,
                block_tables: view(self.block_tables())?.reshape((self.rows, self.table_width))?,
                max_queries,
            },
            last_tokens: view(self.last_tokens())?,
            parameters: view(self.parameters())?,
        })
    }
}

/// The region of `len` words after another one, aligned for the widest loads of a GPU.
fn after(region: Range<usize>, len: usize) -> Range<usize> {
    const ALIGNMENT_WORDS: usize = 64;
    let start = region.end.next_multiple_of(ALIGNMENT_WORDS);
    start..start + len
}
