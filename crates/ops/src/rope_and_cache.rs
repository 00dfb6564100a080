//! Rotary position embedding, and storing new keys and values in the paged cache.

use candle_core::{CpuStorage, InplaceOp3, Layout, Result, Tensor, bail};
#[cfg(feature = "cuda")]
use candle_core::{CudaStorage, DType};
use half::bf16;

#[cfg(feature = "cuda")]
use crate::cuda::{Gpu, Grid, arguments, operand, tensor};
use crate::kv_cache_layer::CacheElement;
use crate::linear_weight::PANEL;
use crate::operand::{destination, source};
use crate::pool::{self, Rows, for_each_row};
use crate::simd::{Kernel, Simd, SimdLevel, dispatch};
use crate::{BLOCK_SIZE, KvCacheLayer, RopeTable};

/// Values per task.
const TASK_VALUES: usize = 16 * 1024;

/// Rotates the queries of `qkv` `[m, (num_heads + 2 · kv_heads) · head_dim]` in place by their
/// `positions` u32 `[m]`, and writes rotated keys and values to their `slots` u32 `[m]` of `cache`
/// (slot = block · 16 + offset). The halves of the first [`RopeTable::rotary_dim`] dimensions of a head
/// are rotated against each other (`rotate_half` of HF transformers); the others stay. The contents of `qkv` in place of the keys are unspecified afterwards.
///
/// # Errors
/// A shape or a type doesn't fit, a position is outside the table, or a slot is outside the cache.
/// Only the CPU checks positions and slots: on a GPU the host doesn't see them.
pub fn rope_and_cache(
    qkv: &Tensor,
    rope: &RopeTable,
    positions: &Tensor,
    slots: &Tensor,
    cache: &KvCacheLayer,
    num_heads: usize,
) -> Result<()> {
    let shape = HeadShape {
        heads: num_heads,
        kv_heads: cache.num_kv_heads(),
        head_dim: cache.head_dim(),
    };
    let (rotary_dim, table_row) = (rope.rotary_dim(), rope.row_len());
    let scales_queries = table_row != rotary_dim;
    if rotary_dim > shape.head_dim || (scales_queries && rotary_dim != shape.head_dim) {
        bail!(
            "rope of {rotary_dim} dimensions{} for a cache of head_dim {}",
            if scales_queries {
                " that scales queries"
            } else {
                ""
            },
            shape.head_dim
        );
    }
    let rotate = Rotate {
        shape,
        rotary_dim,
        table_row,
        slots,
        cache,
    };
    qkv.inplace_op3(positions, rope.table(), &rotate)?;
    cache
        .blocks()
        .inplace_op3(qkv, slots, &WriteCache { shape })
}

#[derive(Clone, Copy)]
struct HeadShape {
    heads: usize,
    kv_heads: usize,
    head_dim: usize,
}

impl HeadShape {
    fn row_len(self) -> usize {
        (self.heads + 2 * self.kv_heads) * self.head_dim
    }

    /// The number of rows of `qkv`, whose rows must have this shape.
    fn rows(self, qkv: &Layout) -> Result<usize> {
        let (rows, row_len) = qkv.shape().dims2()?;
        if row_len != self.row_len() {
            bail!(
                "qkv of {} heads and 2 × {} kv heads of {} needs rows of {}, not of {row_len}",
                self.heads,
                self.kv_heads,
                self.head_dim,
                self.row_len()
            );
        }
        Ok(rows)
    }
}

struct Rotate<'a> {
    shape: HeadShape,
    rotary_dim: usize,
    /// Values of one position in the table. The last `rotary_dim` of them turn queries, the first
    /// ones keys.
    table_row: usize,
    /// A GPU writes keys and values to these slots while it rotates.
    #[cfg_attr(not(feature = "cuda"), expect(dead_code))]
    slots: &'a Tensor,
    #[cfg_attr(not(feature = "cuda"), expect(dead_code))]
    cache: &'a KvCacheLayer,
}

impl InplaceOp3 for Rotate<'_> {
    fn name(&self) -> &'static str {
        "rope"
    }

    fn cpu_fwd(
        &self,
        qkv: &mut CpuStorage,
        qkv_layout: &Layout,
        positions: &CpuStorage,
        positions_layout: &Layout,
        table: &CpuStorage,
        table_layout: &Layout,
    ) -> Result<()> {
        let HeadShape {
            heads,
            kv_heads,
            head_dim,
        } = self.shape;
        let rows = self.shape.rows(qkv_layout)?;
        let positions = source::<u32>("rope: positions", positions, positions_layout)?;
        if positions.len() != rows {
            bail!("rope: {} positions for {rows} rows", positions.len());
        }
        let table = source::<f32>("rope: table", table, table_layout)?;
        let (rotary_dim, table_row) = (self.rotary_dim, self.table_row);
        let max_positions = table.len() / table_row;
        if let Some(position) = positions.iter().find(|p| **p as usize >= max_positions) {
            bail!("rope: position {position} is outside a table of {max_positions} positions");
        }
        let qkv = destination("rope: qkv", qkv, qkv_layout)?;

        let level = SimdLevel::current();
        for_each_row(qkv, self.shape.row_len(), TASK_VALUES, |row, qkv| {
            let angles = &table[positions[row] as usize * table_row..][..table_row];
            let (queries, rest) = qkv.split_at_mut(heads * head_dim);
            let keys = &mut rest[..kv_heads * head_dim];
            for (heads, angles) in [
                (queries, &angles[table_row - rotary_dim..]),
                (keys, &angles[..rotary_dim]),
            ] {
                let rotate = RotateHeads {
                    heads,
                    head_dim,
                    angles,
                };
                dispatch(level, rotate);
            }
        });
        Ok(())
    }

    /// Also writes the cache, in the same launch.
    #[cfg(feature = "cuda")]
    fn cuda_fwd(
        &self,
        qkv: &mut CudaStorage,
        qkv_layout: &Layout,
        positions: &CudaStorage,
        positions_layout: &Layout,
        table: &CudaStorage,
        table_layout: &Layout,
    ) -> Result<()> {
        /// Values of a head that a thread computes.
        const THREAD_VALUES: usize = 16;
        let rows = self.shape.rows(qkv_layout)?;
        if !self.rotary_dim.is_multiple_of(THREAD_VALUES) {
            bail!(
                "rope_and_cache: rope of {} dimensions: a GPU takes multiples of {THREAD_VALUES}",
                self.rotary_dim
            );
        }
        for (name, count) in [
            ("positions", positions_layout.shape().dims1()?),
            ("slots", self.slots.dims1()?),
        ] {
            if count != rows {
                bail!("rope_and_cache: {count} {name} for {rows} rows");
            }
        }
        let gpu = Gpu::of(&qkv.device)?;
        let qkv = operand("rope_and_cache: qkv", qkv, qkv_layout)?;
        let element = qkv.element("rope_and_cache: qkv")?;
        let arguments = arguments::RopeAndCache {
            qkv: qkv.address,
            cache: tensor("rope_and_cache: cache", self.cache.blocks())?
                .of("rope_and_cache: cache", element)?,
            table: operand("rope_and_cache: table", table, table_layout)?
                .of("rope_and_cache: table", DType::F32)?,
            positions: operand("rope_and_cache: positions", positions, positions_layout)?
                .of("rope_and_cache: positions", DType::U32)?,
            slots: tensor("rope_and_cache: slots", self.slots)?
                .of("rope_and_cache: slots", DType::U32)?,
            live: gpu.live_rows(rows)?,
            heads: self.shape.heads as u32,
            kv_heads: self.shape.kv_heads as u32,
            head_dim: self.shape.head_dim as u32,
            rotary_dim: self.rotary_dim as u32,
            table_row: self.table_row as u32,
            block_size: BLOCK_SIZE as u32,
        };
        // SAFETY: the shapes were checked; the caller guarantees positions and slots.
        unsafe { gpu.launch(Some(element), 0, Grid::new(rows, 1, 1), &arguments) }
    }
}

struct RotateHeads<'a> {
    heads: &'a mut [f32],
    head_dim: usize,
    /// Cosines, then sines.
    angles: &'a [f32],
}

impl Kernel for RotateHeads<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let half = self.angles.len() / 2;
        let (cos, sin) = self.angles.split_at(half);
        for head in self.heads.chunks_exact_mut(self.head_dim) {
            let (first, rest) = head.split_at_mut(half);
            let second = &mut rest[..half];
            for i in 0..half {
                let (a, b) = (first[i], second[i]);
                first[i] = a * cos[i] - b * sin[i];
                second[i] = b * cos[i] + a * sin[i];
            }
        }
    }
}

struct WriteCache {
    shape: HeadShape,
}

impl InplaceOp3 for WriteCache {
    fn name(&self) -> &'static str {
        "write_cache"
    }

    fn cpu_fwd(
        &self,
        cache: &mut CpuStorage,
        _: &Layout,
        qkv: &CpuStorage,
        qkv_layout: &Layout,
        slots: &CpuStorage,
        slots_layout: &Layout,
    ) -> Result<()> {
        let rows = self.shape.rows(qkv_layout)?;
        let qkv = source::<f32>("write_cache: qkv", qkv, qkv_layout)?;
        let slots = source::<u32>("write_cache: slots", slots, slots_layout)?;
        if slots.len() != rows {
            bail!("write_cache: {} slots for {rows} rows", slots.len());
        }
        match cache {
            CpuStorage::BF16(cache) => self.write::<bf16>(cache, qkv, slots),
            CpuStorage::F32(cache) => self.write::<f32>(cache, qkv, slots),
            _ => bail!("write_cache: keys and values are kept as BF16 or F32"),
        }
    }

    /// The rotation has already written it.
    #[cfg(feature = "cuda")]
    fn cuda_fwd(
        &self,
        _: &mut CudaStorage,
        _: &Layout,
        _: &CudaStorage,
        _: &Layout,
        _: &CudaStorage,
        _: &Layout,
    ) -> Result<()> {
        Ok(())
    }
}

impl WriteCache {
    fn write<W: CacheElement>(&self, cache: &mut [W], qkv: &[f32], slots: &[u32]) -> Result<()> {
        let HeadShape {
            heads,
            kv_heads,
            head_dim,
        } = self.shape;
        let keys_len = KvCacheLayer::keys_len(head_dim);
        let head_len = keys_len + KvCacheLayer::values_len(head_dim);
        let num_slots = cache.len() / (kv_heads * head_len) * BLOCK_SIZE;
        if let Some(slot) = slots.iter().find(|slot| **slot as usize >= num_slots) {
            bail!("write_cache: slot {slot} is outside a cache of {num_slots} slots");
        }
        let cache = Rows::new(cache, head_len);
        let write_head = |head: usize| {
            for (row, slot) in qkv.chunks_exact(self.shape.row_len()).zip(slots) {
                let (block, token) = (*slot as usize / BLOCK_SIZE, *slot as usize % BLOCK_SIZE);
                // SAFETY: a head belongs to one task.
                let cached = unsafe { cache.row(block * kv_heads + head) };
                let (cached_keys, cached_values) = cached.split_at_mut(keys_len);
                let key = &row[(heads + head) * head_dim..][..head_dim];
                for (i, x) in key.iter().enumerate() {
                    cached_keys[W::index(i, token)] = W::from_f32(*x);
                }
                // Each panel of 16 dimensions has the block's 16 tokens as its inputs.
                let panels = cached_values.chunks_exact_mut(PANEL * BLOCK_SIZE);
                let value = &row[(heads + kv_heads + head) * head_dim..][..head_dim];
                for (panel, lanes) in panels.zip(value.chunks(PANEL)) {
                    for (lane, x) in lanes.iter().enumerate() {
                        panel[W::index(token, lane)] = W::from_f32(*x);
                    }
                }
            }
        };
        if qkv.len() < TASK_VALUES {
            (0..kv_heads).for_each(write_head);
        } else {
            pool::run(kv_heads, write_head);
        }
        Ok(())
    }
}
