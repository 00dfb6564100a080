//! Causal attention over a paged cache.

#[cfg(any(feature = "cuda", test))]
#[cfg_attr(
    not(feature = "cuda"),
    allow(dead_code, reason = "the tests look at the rest")
)]
pub(crate) mod geometry;
mod tile;

use std::cell::RefCell;

use candle_core::{CpuStorage, InplaceOp3, Layout, Result, Storage, Tensor, bail};
#[cfg(feature = "cuda")]
use candle_core::{CudaStorage, DType};

#[cfg(feature = "cuda")]
use self::geometry::Geometry;
use self::tile::{Cache, Tile};
#[cfg(feature = "cuda")]
use crate::cuda::{Gpu, Grid, arguments, operand, tensor};
use crate::operand::{destination, source};
use crate::pool;
use crate::simd::{SimdLevel, dispatch};
use crate::{BLOCK_SIZE, KvCacheLayer};

/// Rows of queries per task. Keys and values are read from the cache once for all of them.
const TASK_ROWS: usize = 48;

/// A ragged batch of sequences, all u32. Row `r` has the queries `query_starts[r]..query_starts[r +
/// 1]`; the last of them is at position `context_lens[r] - 1`, and block `block_tables[r][p / 16]`
/// holds position `p`.
#[derive(Clone, Debug)]
pub struct AttentionBatch {
    /// `[rows + 1]`, ascending from 0.
    pub query_starts: Tensor,
    /// `[rows]`: tokens in the cache, including those of this step.
    pub context_lens: Tensor,
    /// `[rows, max_blocks]`; entries beyond the context are not read.
    pub block_tables: Tensor,
    /// Maximum number of queries of a row. A GPU's host doesn't see the queries, but has to know
    /// which kernels to launch.
    pub max_queries: usize,
}

/// `out` `[m, num_heads · head_dim] = softmax(scale · Q Kᵀ) V`, with queries from `qkv`
/// `[m, (num_heads + 2 · kv_heads) · head_dim]` and keys and values from `cache`. A query at `i`
/// sees the keys at `j <= i`, with a sliding window only those with `i - j < window`. Slots that
/// hold no token of the row may contain anything.
///
/// Softmax is computed online, a chunk of the context at a time (Milakov and Gimelshein, "Online
/// normalizer calculation for softmax", 2018), over a paged cache (Kwon et al., "Efficient Memory
/// Management for Large Language Model Serving with PagedAttention", 2023).
///
/// # Errors
/// A shape or a type doesn't fit, or the batch contradicts itself or the cache. Only the CPU checks
/// the batch: on a GPU the host doesn't see it.
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
        let rows = self.check(out_layout, qkv_layout)?;
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
                // The last tiles of a prompt see the most keys. They come first, so that the
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

    #[cfg(feature = "cuda")]
    fn cuda_fwd(
        &self,
        out: &mut CudaStorage,
        out_layout: &Layout,
        qkv: &CudaStorage,
        qkv_layout: &Layout,
        cache: &CudaStorage,
        cache_layout: &Layout,
    ) -> Result<()> {
        let tokens = self.check(out_layout, qkv_layout)?;
        let batch = self.batch;
        let rows = batch.context_lens.dims1()?;
        let (tables, table_width) = batch.block_tables.dims2()?;
        if batch.query_starts.dims1()? != rows + 1 || tables != rows {
            bail!("paged_attention: query_starts, context_lens and block_tables disagree");
        }
        let group = self.heads / self.kv_heads;
        if group > geometry::MAX_GROUP {
            bail!(
                "paged_attention: {group} heads a kv head are more than the {} of a GPU's kernels: \
                 use the CPU for this model",
                geometry::MAX_GROUP
            );
        }
        let gpu = Gpu::of(&out.device)?;
        let out = operand("paged_attention: out", out, out_layout)?;
        let element = out.element("paged_attention: out")?;
        let qkv = operand("paged_attention: qkv", qkv, qkv_layout)?
            .of("paged_attention: qkv", element)?;
        let cache = operand("paged_attention: cache", cache, cache_layout)?
            .of("paged_attention: cache", element)?;
        let integers = |name, tensor_| tensor(name, tensor_)?.of(name, DType::U32);
        let query_starts = integers("query_starts", &batch.query_starts)?;
        let context_lens = integers("context_lens", &batch.context_lens)?;
        let block_tables = integers("block_tables", &batch.block_tables)?;
        let geometry = Geometry {
            tokens,
            rows,
            max_queries: batch.max_queries,
            kv_heads: self.kv_heads,
            group,
            head_dim: self.head_dim,
            multiprocessors: gpu.multiprocessors(),
        };
        let scratch = gpu.attention();
        let (kv_heads, group) = (geometry.kv_heads as u32, geometry.group as u32);
        // 0 means no window.
        let window = u32::try_from(self.window).unwrap_or(0);
        let grid = |[x, y, z]: [usize; 3]| Grid::new(x, y, z).shared(geometry.shared_bytes());
        let decode = arguments::PagedAttentionDecode {
            out: out.address,
            partial_out: scratch.outputs(),
            partial_stats: scratch.stats(),
            arrived: scratch.arrived(),
            qkv,
            cache,
            query_starts,
            context_lens,
            block_tables,
            live: gpu.live_rows(rows)?,
            kv_heads,
            group,
            block_size: BLOCK_SIZE as u32,
            table_width: table_width as u32,
            window,
            scale: self.scale,
        };
        // SAFETY: the shapes were checked, the scratch buffer is large enough for every launch that
        // splits, and the caller guarantees the batch.
        unsafe {
            let blocks = grid(geometry.decode_blocks());
            gpu.launch(Some(element), self.head_dim, blocks, &decode)?;
        }
        let Some(blocks) = geometry.prefill_blocks() else {
            return Ok(());
        };
        let prefill = arguments::PagedAttentionPrefill {
            out: out.address,
            qkv,
            cache,
            query_starts,
            context_lens,
            block_tables,
            live: gpu.live_rows(rows)?,
            kv_heads,
            group,
            block_size: BLOCK_SIZE as u32,
            table_width: table_width as u32,
            window,
            scale: self.scale,
        };
        // SAFETY: as above.
        unsafe { gpu.launch(Some(element), self.head_dim, grid(blocks), &prefill) }
    }
}

impl PagedAttention<'_> {
    /// The number of queries.
    fn check(&self, out: &Layout, qkv: &Layout) -> Result<usize> {
        let Self {
            heads,
            kv_heads,
            head_dim,
            ..
        } = *self;
        let (rows, qkv_len) = qkv.shape().dims2()?;
        if qkv_len != (heads + 2 * kv_heads) * head_dim
            || out.shape().dims2()? != (rows, heads * head_dim)
        {
            bail!(
                "paged_attention: {heads} heads and 2 × {kv_heads} kv heads of {head_dim} don't fit qkv {:?} and out {:?}",
                qkv.shape(),
                out.shape()
            );
        }
        Ok(rows)
    }

    /// Divides every row's queries into tiles.
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
            if end - first > self.batch.max_queries {
                bail!(
                    "paged_attention: row {row} has {} queries, more than max_queries, {}",
                    end - first,
                    self.batch.max_queries
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
