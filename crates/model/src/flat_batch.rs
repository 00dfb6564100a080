//! A batch as flat arrays, before they go to the device.

use std::ops::Range;

use farthing_scheduler::{AdapterId, Batch, BatchRow, BlockId};

use crate::kv_cache::BLOCK_SIZE;

/// The rows are sorted by adapter, and their tokens are concatenated.
pub(crate) struct FlatBatch<'a> {
    pub token_ids: Vec<u32>,              // [tokens]
    pub positions: Vec<u32>,              // [tokens]
    pub slots: Vec<u32>,                  // [tokens], block * BLOCK_SIZE + offset
    pub query_starts: Vec<u32>,           // [rows + 1]
    pub context_lens: Vec<u32>,           // [rows]
    pub block_tables: Vec<&'a [BlockId]>, // [rows]
    /// The tokens of each row of the batch, in the order of the batch.
    pub row_tokens: Vec<Range<usize>>,
    /// The tokens of each adapter.
    pub adapters: Vec<(AdapterId, Range<usize>)>,
    /// Number of tokens in the longest row.
    pub max_queries: usize,
}

impl<'a> FlatBatch<'a> {
    pub(crate) fn new(batch: &'a Batch) -> Self {
        let mut order: Vec<usize> = (0..batch.rows.len()).collect();
        order.sort_by_key(|&i| batch.rows[i].adapter);
        let mut flat = Self {
            token_ids: Vec::new(),
            positions: Vec::new(),
            slots: Vec::new(),
            query_starts: vec![0],
            context_lens: Vec::new(),
            block_tables: Vec::new(),
            row_tokens: vec![0..0; batch.rows.len()],
            adapters: Vec::new(),
            max_queries: 0,
        };
        for i in order {
            flat.push(i, &batch.rows[i]);
        }
        flat
    }

    fn push(&mut self, index: usize, row: &'a BatchRow) {
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
        self.block_tables.push(&row.block_table);
        self.max_queries = self.max_queries.max(row.tokens.len());
        let tokens = first..self.token_ids.len();
        if let Some(id) = row.adapter {
            match self.adapters.last_mut() {
                Some((last, range)) if *last == id => range.end = tokens.end,
                _ => self.adapters.push((id, tokens.clone())),
            }
        }
        self.row_tokens[index] = tokens;
    }

    /// The rows that sample a token, and the index of the last token of each, in ascending order of
    /// tokens.
    pub(crate) fn samples(&self, batch: &Batch) -> (Vec<usize>, Vec<u32>) {
        let mut rows: Vec<usize> = (0..batch.rows.len())
            .filter(|&i| batch.rows[i].sample.is_some())
            .collect();
        rows.sort_by_key(|&i| self.row_tokens[i].start);
        let last_token = |&i: &usize| self.row_tokens[i].end as u32 - 1;
        let last_tokens = rows.iter().map(last_token).collect();
        (rows, last_tokens)
    }

    /// The adapters of some tokens, which are given in ascending order. The returned ranges count
    /// within these tokens.
    pub(crate) fn adapters_of(
        &self,
        tokens: &[u32],
    ) -> impl Iterator<Item = (AdapterId, Range<usize>)> {
        let before = |end: usize| tokens.partition_point(|&token| (token as usize) < end);
        self.adapters
            .iter()
            .map(move |(id, range)| (*id, before(range.start)..before(range.end)))
            .filter(|(_, tokens)| !tokens.is_empty())
    }

    /// The block tables padded to one width: `[rows, width]`.
    pub(crate) fn padded_block_tables(&self) -> (Vec<u32>, usize) {
        let width = self.block_tables.iter().map(|table| table.len()).max();
        let width = width.unwrap_or(0);
        let mut padded = Vec::with_capacity(self.block_tables.len() * width);
        for table in &self.block_tables {
            padded.extend(table.iter().map(|block| block.0));
            padded.extend(std::iter::repeat_n(0, width - table.len()));
        }
        (padded, width)
    }
}
