//! The cache blocks of one sequence.

use crate::BlockId;

/// The blocks of one sequence, in the order of its tokens. It is given back whole, to
/// [`BlockManager::free`](crate::block_manager::BlockManager::free).
#[derive(Debug, Default)]
pub(crate) struct BlockTable {
    blocks: Vec<BlockId>,
    /// How many of `blocks`, from the first, can be found by their content.
    num_findable: usize,
}

impl BlockTable {
    /// A table of blocks that can all be found by their content.
    pub(crate) fn of_findable(blocks: Vec<BlockId>) -> Self {
        Self {
            num_findable: blocks.len(),
            blocks,
        }
    }

    pub(crate) fn blocks(&self) -> &[BlockId] {
        &self.blocks
    }

    pub(crate) fn num_findable(&self) -> usize {
        self.num_findable
    }

    pub(crate) fn push(&mut self, block: BlockId) {
        self.blocks.push(block);
    }

    /// Puts `block`, which can be found, in the place of the first block that cannot.
    pub(crate) fn publish_next(&mut self, block: BlockId) {
        self.blocks[self.num_findable] = block;
        self.num_findable += 1;
    }

    pub(crate) fn into_blocks(self) -> Vec<BlockId> {
        self.blocks
    }
}
