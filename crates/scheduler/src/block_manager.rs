//! Allocation of cache blocks, and the prefix cache.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use crate::block_table::BlockTable;
use crate::sequence::Sequence;
use crate::{AdapterId, BlockId, CacheSalt};

/// The blocks of the cache. Each block is free or held by at least one sequence.
///
/// A full block of computed tokens is found by its content and can then be shared. When its last
/// holder releases it, the block is free but keeps its content until it is reused. Blocks without
/// content are reused first, then the least recently used.
///
/// The content of a block is its tokens, its adapter, its salt, and all blocks before it. The parent's
/// [`BlockId`] identifies the blocks before it. That is exact, because the parent of a findable
/// block is always findable too: a sequence that holds a block also holds its parent, and a table
/// is released from its end, so that a block is reused before its parent.
#[derive(Debug)]
pub(crate) struct BlockManager {
    block_size: usize,
    blocks: Vec<Block>,
    /// Free blocks without content.
    empty: Vec<BlockId>,
    /// Free blocks with content, by the time of their release.
    cached: BTreeMap<u64, BlockId>,
    /// All blocks that can be found by content. The map compares whole contents, so hash collisions
    /// are harmless.
    findable: HashMap<Content, BlockId>,
    /// Counts releases. It is the clock for "least recently used".
    releases: u64,
}

/// There are fewer free blocks than a sequence needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct OutOfBlocks;

#[derive(Debug, Default)]
struct Block {
    holders: usize,
    content: Option<Content>,
    /// The release count when the last holder released it: the key in [`BlockManager::cached`].
    released: u64,
}

/// The content of a full block.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Content {
    parent: Option<BlockId>,
    tokens: Arc<[u32]>, // [block_size]
    adapter: Option<AdapterId>,
    salt: Option<CacheSalt>,
}

impl BlockManager {
    /// Starts with all blocks free and empty. Block 0 is allocated first.
    pub(crate) fn new(num_blocks: u32, block_size: usize) -> Self {
        Self {
            block_size,
            blocks: (0..num_blocks).map(|_| Block::default()).collect(),
            empty: (0..num_blocks).rev().map(BlockId).collect(),
            cached: BTreeMap::new(),
            findable: HashMap::new(),
            releases: 0,
        }
    }

    pub(crate) fn total(&self) -> usize {
        self.blocks.len()
    }

    /// Number of blocks that no sequence holds.
    pub(crate) fn free_blocks(&self) -> usize {
        self.empty.len() + self.cached.len()
    }

    /// Allocates the blocks that `sequence` needs to compute `n` more tokens. On error nothing has
    /// changed.
    pub(crate) fn allocate(
        &mut self,
        sequence: &mut Sequence,
        n: usize,
    ) -> Result<(), OutOfBlocks> {
        let needed = (sequence.num_computed() + n).div_ceil(self.block_size);
        let table = sequence.block_table_mut();
        let missing = needed.saturating_sub(table.blocks().len());
        if missing > self.free_blocks() {
            return Err(OutOfBlocks);
        }
        for block in (0..missing).map_while(|_| self.take_free()) {
            table.push(block);
        }
        Ok(())
    }

    /// Gives a sequence without blocks the longest cached prefix of its tokens. The last token is
    /// always computed, because only computed tokens have logits.
    pub(crate) fn share_prefix(&mut self, sequence: &mut Sequence) {
        let mut shared = Vec::new();
        let known = &sequence.tokens()[..sequence.tokens().len() - 1];
        for tokens in known.chunks_exact(self.block_size) {
            let content = Content {
                parent: shared.last().copied(),
                tokens: tokens.into(),
                adapter: sequence.adapter(),
                salt: sequence.cache_salt(),
            };
            let Some(&block) = self.findable.get(&content) else {
                break;
            };
            self.hold(block);
            shared.push(block);
        }
        let tokens = shared.len() * self.block_size;
        sequence.start_from(BlockTable::of_findable(shared), tokens);
    }

    /// Makes the blocks that `sequence` has filled findable by content. If a block with the same
    /// content exists already, the sequence switches to it and releases its own.
    pub(crate) fn publish(&mut self, sequence: &mut Sequence) {
        let full = sequence.num_computed() / self.block_size;
        for index in sequence.block_table().num_findable()..full {
            let blocks = sequence.block_table().blocks();
            let own = blocks[index];
            let content = Content {
                parent: index.checked_sub(1).map(|parent| blocks[parent]),
                tokens: sequence.tokens()[index * self.block_size..][..self.block_size].into(),
                adapter: sequence.adapter(),
                salt: sequence.cache_salt(),
            };
            let block = match self.findable.get(&content) {
                Some(&twin) => {
                    self.hold(twin);
                    self.release(own);
                    twin
                }
                None => {
                    self.findable.insert(content.clone(), own);
                    self.block_mut(own).content = Some(content);
                    own
                }
            };
            sequence.block_table_mut().publish_next(block);
        }
    }

    /// Releases all blocks of a table. Blocks with content can be found until they are reused.
    pub(crate) fn free(&mut self, table: BlockTable) {
        for block in table.into_blocks().into_iter().rev() {
            self.release(block);
        }
    }

    fn take_free(&mut self) -> Option<BlockId> {
        let id = match self.empty.pop() {
            Some(id) => id,
            None => self.cached.pop_first()?.1,
        };
        let block = self.block_mut(id);
        block.holders = 1;
        if let Some(content) = block.content.take() {
            self.findable.remove(&content);
        }
        Some(id)
    }

    fn hold(&mut self, id: BlockId) {
        let block = self.block_mut(id);
        block.holders += 1;
        if block.holders == 1 {
            let released = block.released;
            self.cached.remove(&released);
        }
    }

    fn release(&mut self, id: BlockId) {
        self.releases += 1;
        let now = self.releases;
        let block = self.block_mut(id);
        block.holders -= 1;
        block.released = now;
        match (block.holders, &block.content) {
            (0, Some(_)) => _ = self.cached.insert(now, id),
            (0, None) => self.empty.push(id),
            _ => {}
        }
    }

    fn block_mut(&mut self, id: BlockId) -> &mut Block {
        &mut self.blocks[id.0 as usize]
    }
}
