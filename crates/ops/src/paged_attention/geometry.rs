//! How a GPU divides attention among its blocks.

#[cfg(test)]
mod tests;

/// Rows of a decode block's matrix products: queries of one row times the heads that share a kv
/// head.
const DECODE_ROWS: usize = 16;
/// The heads of a query are not divided among blocks.
pub(crate) const MAX_GROUP: usize = DECODE_ROWS;
/// The same for a prefill block.
const PREFILL_ROWS: usize = 128;
/// Maximum number of parts: more cost more to combine than they save.
const MAX_SPLITS: usize = 32;

/// What the host knows about a batch.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Geometry {
    /// Queries of all rows.
    pub(crate) tokens: usize,
    pub(crate) rows: usize,
    /// Queries of the longest row.
    pub(crate) max_queries: usize,
    pub(crate) kv_heads: usize,
    /// Query heads per kv head.
    pub(crate) group: usize,
    pub(crate) head_dim: usize,
    pub(crate) multiprocessors: usize,
}

impl Geometry {
    /// Number of blocks that keeps the device busy.
    pub(crate) fn wanted_blocks(multiprocessors: usize) -> usize {
        4 * multiprocessors
    }

    /// Maximum number of blocks of a launch that splits contexts. The number of splits is rounded
    /// up.
    pub(crate) fn max_split_blocks(multiprocessors: usize) -> usize {
        2 * Self::wanted_blocks(multiprocessors)
    }

    /// Number of blocks that share a context.
    pub(crate) fn splits(&self) -> usize {
        let whole = (self.rows * self.kv_heads).max(1);
        Self::wanted_blocks(self.multiprocessors)
            .div_ceil(whole)
            .clamp(1, MAX_SPLITS)
    }

    /// Blocks of the launch for rows with few queries.
    pub(crate) fn decode_blocks(&self) -> [usize; 3] {
        [self.rows, self.kv_heads, self.splits()]
    }

    /// Blocks of the launch for the other rows, if there may be any.
    pub(crate) fn prefill_blocks(&self) -> Option<[usize; 3]> {
        let some = self.max_queries * self.group > DECODE_ROWS;
        let tiles = (self.tokens * self.group).div_ceil(PREFILL_ROWS) + self.rows;
        some.then_some([tiles, self.kv_heads, 1])
    }

    /// Shared memory per block, for both launches.
    pub(crate) fn shared_bytes(&self) -> usize {
        512 * self.head_dim
    }

    /// Elements of a block's partial outputs, and of the maxima and sums that go with them.
    pub(crate) fn partial_len(head_dim: usize) -> (usize, usize) {
        (DECODE_ROWS * head_dim, DECODE_ROWS * 2)
    }
}
