//! Where the numbers of a step lie among the words that go to a GPU.

#[cfg(test)]
mod tests;

use std::ops::Range;

use candle_core::Tensor;
use farthing_ops::{AttentionBatch, DeviceSampler, UploadTable};

use crate::{ModelError, flat_batch::FlatBatch};

/// A token without an adapter.
pub const NO_SLOT: u32 = u32::MAX;

/// Regions of a step of at most so many tokens and rows, one behind the other. A step of fewer has
/// the same regions: a graph reads them where it found them when it was recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct StepLayout {
    pub tokens: usize,
    pub rows: usize,
    /// Rows that a token is sampled for.
    pub samples: usize,
    /// Blocks of the longest sequence.
    pub table_width: usize,
}

/// The device's views of the regions.
pub(crate) struct StepTensors {
    pub live: Tensor,          // u32 [1]
    pub token_ids: Tensor,     // u32 [tokens]
    pub positions: Tensor,     // u32 [tokens]
    pub slots: Tensor,         // u32 [tokens]
    pub adapter_slots: Tensor, // u32 [tokens], as i32: -1 for none
    pub attention: AttentionBatch,
    pub last_tokens: Tensor, // u32 [samples]
    pub parameters: Tensor,  // u32 [samples · PARAMETER_WORDS]
}

impl StepLayout {
    /// Words of all regions.
    pub(crate) fn words(&self) -> usize {
        self.block_tables().end
    }

    /// One number: how many of the leading rows are real.
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

    fn adapter_slots(&self) -> Range<usize> {
        after(self.slots(), self.tokens)
    }

    fn query_starts(&self) -> Range<usize> {
        after(self.adapter_slots(), self.rows + 1)
    }

    fn context_lens(&self) -> Range<usize> {
        after(self.query_starts(), self.rows)
    }

    fn last_tokens(&self) -> Range<usize> {
        after(self.context_lens(), self.samples)
    }

    /// The parameters of sampling.
    pub(crate) fn parameters(&self) -> Range<usize> {
        after(
            self.last_tokens(),
            self.samples * DeviceSampler::PARAMETER_WORDS,
        )
    }

    fn block_tables(&self) -> Range<usize> {
        after(self.parameters(), self.rows * self.table_width)
    }

    /// The part of the block tables that a batch uses: a few columns of what the longest sequence would
    /// need. All other regions lie before it.
    pub(crate) fn block_table(&self, batch: &FlatBatch<'_>) -> UploadTable {
        let tables = batch.block_tables.iter();
        UploadTable {
            start: self.block_tables().start,
            rows: batch.block_tables.len(),
            columns: tables.map(|table| table.len()).max().unwrap_or(0),
            pitch: self.table_width,
        }
    }

    /// Writes a batch of at most this size. `adapter_slots` has one a token, `last_tokens` one a
    /// sample. What lies past the batch's end keeps what it held.
    pub(crate) fn write(
        &self,
        words: &mut [u32],
        batch: &FlatBatch<'_>,
        adapter_slots: &[u32],
        last_tokens: &[u32],
    ) {
        let mut put = |region: Range<usize>, values: &[u32]| {
            words[region][..values.len()].copy_from_slice(values);
        };
        put(self.live(), &[batch.token_ids.len() as u32]);
        put(self.token_ids(), &batch.token_ids);
        put(self.positions(), &batch.positions);
        put(self.slots(), &batch.slots);
        put(self.adapter_slots(), adapter_slots);
        put(self.query_starts(), &batch.query_starts);
        put(self.context_lens(), &batch.context_lens);
        put(self.last_tokens(), last_tokens);
        let tables = words[self.block_tables()].chunks_exact_mut(self.table_width.max(1));
        for (to, table) in tables.zip(&batch.block_tables) {
            for (to, block) in to.iter_mut().zip(*table) {
                *to = block.0;
            }
        }
    }

    /// The device's views of the regions of `words`, for rows of at most `max_queries` tokens.
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
            adapter_slots: view(self.adapter_slots())?,
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

/// The region of `len` words that follows another, aligned for the widest loads of a GPU.
fn after(region: Range<usize>, len: usize) -> Range<usize> {
    const ALIGNMENT_WORDS: usize = 64;
    let start = region.end.next_multiple_of(ALIGNMENT_WORDS);
    start..start + len
}
