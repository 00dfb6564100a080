//! Causal attention over a paged cache.

mod tile;

use std::cell::RefCell;

use candle_core::{CpuStorage, InplaceOp3, Layout, Result, Storage, Tensor, bail};

use self::tile::{Cache, Tile};
use crate::operand::{destination, source};
use crate::pool;
use crate::simd::{SimdLevel, dispatch};
use crate::{BLOCK_SIZE, KvCacheLayer};

/// Rows of queries that a task computes at once, so that keys and values come from the cache
/// once for all of them.
const TASK_ROWS: usize = 48;

/// A ragged batch of sequences, all u32. Row `r` has the queries
/// `query_starts[r]..query_starts[r + 1]`; the last of them stands at position
/// `context_lens[r] - 1`, and block `block_tables[r][p / 16]` holds position `p`.
#[derive(Clone, Debug)]
pub struct AttentionBatch {
    /// `[rows + 1]`, ascending from 0.
    pub query_starts: Tensor,
    /// `[rows]`: tokens in the cache, those of this step included.
    pub context_lens: Tensor,
    /// `[rows, max_blocks]`; entries past the context are not read.
    pub block_tables: Tensor,
}

/// `out` f32 `[m, num_heads · head_dim] = softmax(scale · Q Kᵀ) V`, with queries from `qkv` f32
/// `[m, (num_heads + 2 · kv_heads) · head_dim]` and keys and values from `cache`. A query at `i`
/// sees the keys at `j <= i`, with a sliding window only those with `i - j < window`. Slots that
/// hold no token of the row may contain anything.
///
/// Softmax is computed online, a chunk of the context at a time (Milakov and Gimelshein, "Online
/// normalizer calculation for softmax", 2018), over a paged cache (Kwon et al., "Efficient Memory
/// Management for Large Language Model Serving with PagedAttention", 2023).
///
/// # Errors
/// Where the batch contradicts itself or the cache, or a shape or a type doesn't fit.
pub fn paged_attention(
    out: &Tensor,
    qkv: &Tensor,
    cache: &KvCacheLayer,
    batch: &AttentionBatch,
    num_heads: usize,
    scale: f32,
    sliding_window: Option<usize>,
) -> Result<()> {
    let kv_heads = cache.num_kv_heads();
    if num_heads == 0 || !num_heads.is_multiple_of(kv_heads) {
        bail!("paged_attention: {num_heads} heads cannot share {kv_heads} kv heads evenly");
    }
    let op = PagedAttention {
        batch,
        heads: num_heads,
        kv_heads,
        head_dim: cache.head_dim(),
        scale,
        window: sliding_window.unwrap_or(usize::MAX),
    };
    out.inplace_op3(qkv, cache.blocks(), &op)
}

struct PagedAttention<'a> {
    batch: &'a AttentionBatch,
    heads: usize,
    kv_heads: usize,
    head_dim: usize,
    scale: f32,
    window: usize,
}

/// Some queries of one row.
#[derive(Clone, Copy)]
struct QueryTile {
    row: usize,
    /// Index of the first query in the batch.
    first: usize,
    count: usize,
    /// Position of the first query.
    position: usize,
}

thread_local! {
    static TILES: RefCell<Vec<QueryTile>> = const { RefCell::new(Vec::new()) };
    static SCRATCH: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
}

impl InplaceOp3 for PagedAttention<'_> {
    fn name(&self) -> &'static str {
        "paged_attention"
    }

    fn cpu_fwd(
        &self,
        out: &mut CpuStorage,
        out_layout: &Layout,
        qkv: &CpuStorage,
        qkv_layout: &Layout,
        cache: &CpuStorage,
        _: &Layout,
    ) -> Result<()> {
        let Self {
            heads,
            kv_heads,
            head_dim,
            ..
        } = *self;
        let (rows, qkv_len) = qkv_layout.shape().dims2()?;
        if qkv_len != (heads + 2 * kv_heads) * head_dim
            || out_layout.shape().dims2()? != (rows, heads * head_dim)
        {
            bail!(
                "paged_attention: {heads} heads and 2 × {kv_heads} kv heads of {head_dim} don't fit qkv {:?} and out {:?}",
                qkv_layout.shape(),
                out_layout.shape()
            );
        }
        let out = destination("paged_attention: out", out, out_layout)?;
        let out = pool::Rows::new(out, heads * head_dim);
        let qkv = source::<f32>("paged_attention: qkv", qkv, qkv_layout)?;
        let cache = match cache {
            CpuStorage::BF16(cache) => Cache::Bf16(cache),
            CpuStorage::F32(cache) => Cache::F32(cache),
            _ => bail!("paged_attention: keys and values are kept as BF16 or F32"),
        };
        let head_len = KvCacheLayer::keys_len(head_dim) + KvCacheLayer::values_len(head_dim);
        let num_blocks = cache.len() / (kv_heads * head_len);

        let batch = self.batch;
        let guards = [
            &batch.query_starts,
            &batch.context_lens,
            &batch.block_tables,
        ]
        .map(Tensor::storage_and_layout);
        let starts = integers("query_starts", &guards[0].0, guards[0].1)?;
        let contexts = integers("context_lens", &guards[1].0, guards[1].1)?;
        let tables = integers("block_tables", &guards[2].0, guards[2].1)?;
        let max_blocks = guards[2].1.shape().dims2()?.1;

        TILES.with_borrow_mut(|tiles| {
            self.plan(tiles, rows, starts, contexts)?;
            if tables.len() != contexts.len() * max_blocks {
                bail!("paged_attention: block_tables has not one row for each context");
            }
            for (row, context) in contexts.iter().enumerate() {
                let used = (*context as usize).div_ceil(BLOCK_SIZE);
                if used > max_blocks {
                    bail!("paged_attention: {context} tokens don't fit {max_blocks} blocks");
                }
                let used = &tables[row * max_blocks..][..used];
                if let Some(block) = used.iter().find(|block| **block as usize >= num_blocks) {
                    bail!("paged_attention: block {block} is outside a cache of {num_blocks}");
                }
            }
            let level = SimdLevel::current();
            let tiles = tiles.as_slice();
            pool::run(tiles.len() * kv_heads, |task| {
                // The last tiles of a prompt see the most keys: they come first, so that the
                // threads finish together.
                let tile = tiles[tiles.len() - 1 - task / kv_heads];
                SCRATCH.with_borrow_mut(|scratch| {
                    let tile = Tile {
                        out: &out,
                        qkv,
                        cache,
                        blocks: &tables[tile.row * max_blocks..][..max_blocks],
                        queries: tile.first..tile.first + tile.count,
                        position: tile.position,
                        context: contexts[tile.row] as usize,
                        heads,
                        kv_heads,
                        kv_head: task % kv_heads,
                        head_dim,
                        scale: self.scale,
                        window: self.window,
                        scratch,
                    };
                    dispatch(level, tile);
                });
            });
            Ok(())
        })
    }
}

impl PagedAttention<'_> {
    /// Splits every row's queries into tiles.
    fn plan(
        &self,
        tiles: &mut Vec<QueryTile>,
        rows: usize,
        starts: &[u32],
        contexts: &[u32],
    ) -> Result<()> {
        tiles.clear();
        if starts.len() != contexts.len() + 1 || starts[0] != 0 {
            bail!("paged_attention: query_starts must be 0 and then the end of each row");
        }
        let tile_queries = (TASK_ROWS * self.kv_heads / self.heads).max(1);
        for (row, context) in contexts.iter().enumerate() {
            let (first, end) = (starts[row] as usize, starts[row + 1] as usize);
            let context = *context as usize;
            if end < first || end > rows || context < end - first {
                bail!(
                    "paged_attention: row {row} has queries {first}..{end} of {rows} in a context of {context}"
                );
            }
            for tile in (first..end).step_by(tile_queries) {
                tiles.push(QueryTile {
                    row,
                    first: tile,
                    count: tile_queries.min(end - tile),
                    position: context - (end - tile),
                });
            }
        }
        Ok(())
    }
}

fn integers<'a>(name: &str, storage: &'a Storage, layout: &Layout) -> Result<&'a [u32]> {
    match storage {
        Storage::Cpu(storage) => source::<u32>(name, storage, layout),
        _ => bail!("paged_attention: {name} is on another device than the queries"),
    }
}
