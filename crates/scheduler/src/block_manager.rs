//! Who holds which block of the paged cache, and which blocks hold a known prefix.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use crate::block_table::BlockTable;
use crate::sequence::Sequence;
use crate::{AdapterId, BlockId};

/// The blocks of the cache: each is held by at least one sequence, or free.
///
/// A full block of computed tokens can be found by its content and is then shared. When its last
/// holder lets go it is free, but keeps its content until the space is needed: blocks without
/// content go first, then the least recently used.
///
/// A block's content is its own tokens, the adapter that computed them and everything before
/// them. The last is told by the parent's [`BlockId`], which is exact because a findable block's
/// parent is always findable too: whoever holds a block holds its parent, and a table is let go
/// from its end, so that a block is always reused before its parent.
#[derive(Debug)]
pub(crate) struct BlockManager {
    block_size: usize,
    blocks: Vec<Block>,
    /// Free blocks without content.
    empty: Vec<BlockId>,
    /// Free blocks with content, by when they were let go.
    cached: BTreeMap<u64, BlockId>,
    /// Every findable block. The map compares whole contents, so equal hashes do no harm.
    findable: HashMap<Content, BlockId>,
    /// How many times a block was let go: the clock of the least recently used.
    releases: u64,
}

/// Fewer blocks are free than a sequence needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct OutOfBlocks;

#[derive(Debug, Default)]
struct Block {
    holders: usize,
    content: Option<Content>,
    /// When the last holder let go; the key in [`BlockManager::cached`].
    released: u64,
}

/// What a full block holds.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Content {
    parent: Option<BlockId>,
    tokens: Arc<[u32]>, // [block_size]
    adapter: Option<AdapterId>,
}

impl BlockManager {
    /// All blocks free and empty. The first to be taken is block 0.
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

    /// How many blocks there are.
    pub(crate) fn total(&self) -> usize {
        self.blocks.len()
    }

    /// How many blocks nobody holds.
    pub(crate) fn free_blocks(&self) -> usize {
        self.empty.len() + self.cached.len()
    }

    /// Takes the blocks that `sequence` needs to compute `n` more tokens. When there are not
    /// enough, nothing has changed.
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

    /// Gives a sequence without blocks the longest findable prefix of its tokens, as computed. Its
    /// last token is left to compute, since only computed tokens have logits.
    pub(crate) fn share_prefix(&mut self, sequence: &mut Sequence) {
        let mut shared = Vec::new();
        let known = &sequence.tokens()[..sequence.tokens().len() - 1];
        for tokens in known.chunks_exact(self.block_size) {
            let content = Content {
                parent: shared.last().copied(),
                tokens: tokens.into(),
                adapter: sequence.adapter(),
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

    /// Makes the blocks findable that `sequence` has filled with computed tokens. Where the same
    /// content is findable already, the sequence changes over to that block and gives up its own.
    pub(crate) fn publish(&mut self, sequence: &mut Sequence) {
        let full = sequence.num_computed() / self.block_size;
        for index in sequence.block_table().num_findable()..full {
            let blocks = sequence.block_table().blocks();
            let own = blocks[index];
            let content = Content {
                parent: index.checked_sub(1).map(|parent| blocks[parent]),
                tokens: sequence.tokens()[index * self.block_size..][..self.block_size].into(),
                adapter: sequence.adapter(),
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

    /// Takes a sequence's blocks back. What is findable stays so until the block is reused.
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
