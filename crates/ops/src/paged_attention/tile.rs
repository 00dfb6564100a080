//! The queries of one tile and the keys and values of one kv head.

use std::ops::Range;

use half::bf16;

use crate::grid::{Ahead, Grid, dot_panels, for_each_tile};
use crate::kv_cache_layer::CacheElement;
use crate::linear_weight::PANEL;
use crate::pool::Rows;
use crate::simd::{Activation, Dot, Kernel, LANES, Lanes, MAX_TILE_ROWS, Simd, exp};
use crate::{BLOCK_SIZE, KvCacheLayer};

/// Number of blocks whose scores are computed before their values are summed.
const CHUNK_BLOCKS: usize = 8;

/// Tokens of a chunk.
const CHUNK: usize = CHUNK_BLOCKS * BLOCK_SIZE;

/// The elements of a [`KvCacheLayer`].
#[derive(Clone, Copy)]
pub(super) enum Cache<'a> {
    Bf16(&'a [bf16]),
    F32(&'a [f32]),
}

impl Cache<'_> {
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Bf16(cache) => cache.len(),
            Self::F32(cache) => cache.len(),
        }
    }
}

/// Consecutive queries of one row, and all heads that share a kv head. Each pair of a query and a
/// head is a row of the tile.
pub(super) struct Tile<'a> {
    pub(super) out: &'a Rows<'a>,
    pub(super) qkv: &'a [f32],
    pub(super) cache: Cache<'a>,
    /// The row's block table.
    pub(super) blocks: &'a [u32],
    /// Rows of `qkv` and `out`.
    pub(super) queries: Range<usize>,
    /// Position of the first query.
    pub(super) position: usize,
    /// Tokens of the row in the cache.
    pub(super) context: usize,
    pub(super) heads: usize,
    pub(super) kv_heads: usize,
    pub(super) kv_head: usize,
    pub(super) head_dim: usize,
    pub(super) scale: f32,
    pub(super) window: usize,
    pub(super) scratch: &'a mut Vec<f32>,
}

impl Kernel for Tile<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        // SAFETY: the operation has checked queries, blocks and context against the tensors.
        unsafe {
            match self.cache {
                Cache::Bf16(cache) => self.attend::<S, bf16>(cache),
                Cache::F32(cache) => self.attend::<S, f32>(cache),
            }
        }
    }
}

/// Working memory of a tile. Activations are rounded to `X`.
struct Scratch<X, W> {
    /// `[rows][head_dim]`, scaled.
    queries: *mut X,
    /// `[rows][CHUNK]`
    scores: *mut f32,
    /// `[rows][CHUNK]`: not normalised.
    probabilities: *mut X,
    /// `[rows][head_dim padded]`: not normalised.
    sums: *mut f32,
    /// `[rows]`: the highest score so far.
    maxima: *mut f32,
    /// `[rows]`: the sum of the probabilities so far.
    totals: *mut f32,
    /// `[rows]`: factors for `sums` after a change of the maximum.
    corrections: *mut f32,
    /// `[2][head_dim padded · 16]`: values of the first and of the last block, with zeros in slots
    /// that hold no token visible to a query.
    edges: *mut W,
}

impl<X, W> Scratch<X, W> {
    /// Lays the parts out in `buffer`, which grows if it is too small.
    #[inline(always)]
    unsafe fn new(buffer: &mut Vec<f32>, rows: usize, head_dim: usize) -> Self {
        let padded = head_dim.next_multiple_of(PANEL);
        let edges = 2 * KvCacheLayer::values_len(head_dim);
        let needed = rows * (head_dim + 2 * CHUNK + padded + 3) + edges;
        if buffer.len() < needed {
            buffer.resize(needed, 0.0);
        }
        // SAFETY: the offsets add up to `needed`; neither X nor W is wider than f32.
        unsafe {
            let edge = buffer.as_mut_ptr();
            let queries = edge.add(edges);
            let scores = queries.add(rows * head_dim);
            let probabilities = scores.add(rows * CHUNK);
            let sums = probabilities.add(rows * CHUNK);
            let maxima = sums.add(rows * padded);
            Self {
                queries: queries.cast(),
                scores,
                probabilities: probabilities.cast(),
                sums,
                maxima,
                totals: maxima.add(rows),
                corrections: maxima.add(2 * rows),
                edges: edge.cast(),
            }
        }
    }
}

impl Tile<'_> {
    #[inline(always)]
    unsafe fn attend<S: Dot<W>, W: CacheElement>(self, cache: &[W]) {
        unsafe {
            let head_dim = self.head_dim;
            let group = self.heads / self.kv_heads;
            let rows = self.queries.len() * group;
            let padded = head_dim.next_multiple_of(PANEL);
            let values_len = KvCacheLayer::values_len(head_dim);
            let scratch = Scratch::<S::X, W>::new(self.scratch, rows, head_dim);

            // The tokens that any query of the tile sees.
            let seen = (self.position + 1).saturating_sub(self.window)..self.context;
            let end = self.position + self.queries.len();

            let qkv_len = (self.heads + 2 * self.kv_heads) * head_dim;
            for row in 0..rows {
                let head = self.kv_head * group + row % group;
                let query = (self.queries.start + row / group) * qkv_len + head * head_dim;
                for (i, x) in self.qkv[query..query + head_dim].iter().enumerate() {
                    *scratch.queries.add(row * head_dim + i) = S::X::from_f32(*x * self.scale);
                }
                *scratch.maxima.add(row) = f32::NEG_INFINITY;
                *scratch.totals.add(row) = 0.0;
            }
            for i in 0..rows * padded {
                *scratch.sums.add(i) = 0.0;
            }

            let (first_block, last_block) = (seen.start / BLOCK_SIZE, seen.end / BLOCK_SIZE);
            let head_len = KvCacheLayer::keys_len(head_dim) + values_len;
            let first = self.head_panels(cache, first_block, head_len);
            self.copy_seen(scratch.edges, first, first_block, &seen);
            if last_block < end.div_ceil(BLOCK_SIZE) {
                let last = self.head_panels(cache, last_block, head_len);
                self.copy_seen(scratch.edges.add(values_len), last, last_block, &seen);
            }

            let end_block = end.div_ceil(BLOCK_SIZE);
            for chunk in (first_block..end_block).step_by(CHUNK_BLOCKS) {
                let blocks = CHUNK_BLOCKS.min(end_block - chunk);
                let mut keys = [cache.as_ptr(); CHUNK_BLOCKS];
                let mut values = [cache.as_ptr(); CHUNK_BLOCKS];
                let mut next_keys = [cache.as_ptr(); CHUNK_BLOCKS];
                for block in 0..blocks {
                    keys[block] = self.head_panels(cache, chunk + block, head_len);
                    values[block] = if chunk + block == first_block {
                        scratch.edges
                    } else if chunk + block == last_block {
                        scratch.edges.add(values_len)
                    } else {
                        keys[block].add(KvCacheLayer::keys_len(head_dim))
                    };
                    let next = (chunk + CHUNK_BLOCKS + block).min(end_block - 1);
                    next_keys[block] = self.head_panels(cache, next, head_len);
                }
                let (keys, values) = (&keys[..blocks], &values[..blocks]);
                let scores = Scores {
                    scratch: &scratch,
                    keys,
                    values,
                    head_dim,
                };
                // All rows process some keys before the next ones, so that these stay in the
                // first-level cache.
                let step = if rows > MAX_TILE_ROWS {
                    S::TILE_PANELS[MAX_TILE_ROWS]
                } else {
                    CHUNK_BLOCKS
                };
                for first in (0..blocks).step_by(step) {
                    let some = first..(first + step).min(blocks);
                    for_each_tile::<S, W>(&scores, 0..rows, some);
                }
                for row in 0..rows {
                    let position = self.position + row / group;
                    let start = (position + 1).saturating_sub(self.window);
                    let visible = start.saturating_sub(chunk * BLOCK_SIZE).min(CHUNK)
                        ..(position + 1).saturating_sub(chunk * BLOCK_SIZE).min(CHUNK);
                    softmax_row::<S, S::X, W>(&scratch, row, visible, blocks * BLOCK_SIZE);
                }
                let keys = &next_keys[..blocks];
                let sums = Sums {
                    scratch: &scratch,
                    values,
                    keys,
                    row_len: padded,
                };
                for_each_tile::<S, W>(&sums, 0..rows, 0..padded / PANEL);
            }

            for row in 0..rows {
                let head = self.kv_head * group + row % group;
                let out =
                    self.out
                        .part(self.queries.start + row / group, head * head_dim, head_dim);
                let factor = 1.0 / *scratch.totals.add(row);
                for (i, out) in out.iter_mut().enumerate() {
                    *out = *scratch.sums.add(row * padded + i) * factor;
                }
            }
        }
    }

    /// The panels of this tile's head in a block of the row: keys, then values.
    #[inline(always)]
    unsafe fn head_panels<W>(&self, cache: &[W], block: usize, head_len: usize) -> *const W {
        let block = self.blocks[block] as usize;
        unsafe {
            cache
                .as_ptr()
                .add((block * self.kv_heads + self.kv_head) * head_len)
        }
    }

    /// Copies the values of a block, with zeros for tokens outside `seen`: multiplying by a
    /// probability of zero would not remove a NaN.
    #[inline(always)]
    unsafe fn copy_seen<W: CacheElement>(
        &self,
        to: *mut W,
        panels: *const W,
        block: usize,
        seen: &Range<usize>,
    ) {
        let values_len = KvCacheLayer::values_len(self.head_dim);
        let to = unsafe {
            let values = panels.add(KvCacheLayer::keys_len(self.head_dim));
            std::ptr::copy_nonoverlapping(values, to, values_len);
            std::slice::from_raw_parts_mut(to, values_len)
        };
        for panel in to.chunks_exact_mut(PANEL * BLOCK_SIZE) {
            for token in 0..BLOCK_SIZE {
                if !seen.contains(&(block * BLOCK_SIZE + token)) {
                    for lane in 0..PANEL {
                        panel[W::index(token, lane)] = W::from_f32(0.0);
                    }
                }
            }
        }
    }
}

/// Scores of a chunk: queries times keys, a block being a panel.
struct Scores<'a, X, W> {
    scratch: &'a Scratch<X, W>,
    keys: &'a [*const W],
    /// To be prefetched.
    values: &'a [*const W],
    head_dim: usize,
}

impl<S: Dot<W>, W> Grid<S, W> for Scores<'_, S::X, W> {
    #[inline(always)]
    unsafe fn tile<const M: usize, const P: usize>(&self, row: usize, block: usize, pass: usize) {
        unsafe {
            let (mut keys, mut values) = ([self.keys[block]; P], [self.values[block]; P]);
            keys.copy_from_slice(&self.keys[block..block + P]);
            values.copy_from_slice(&self.values[block..block + P]);
            let x = self.scratch.queries.add(row * self.head_dim);
            let zero = [[S::zero(); P]; M];
            let pairs = self.head_dim / 2;
            let stride = self.head_dim;
            let scores = if pass == 0 {
                let ahead = Ahead::straight(values);
                dot_panels::<S, W, M, P, P>(zero, keys, ahead, x, stride, pairs)
            } else {
                dot_panels::<S, W, M, P, 0>(zero, keys, Ahead::NOTHING, x, stride, pairs)
            };
            let to = self.scratch.scores.add(row * CHUNK + block * BLOCK_SIZE);
            for m in 0..M {
                for p in 0..P {
                    S::store(to.add(m * CHUNK + p * BLOCK_SIZE), scores[m][p]);
                }
            }
        }
    }
}

/// Sums of values weighted by the probabilities of a chunk: a panel is 16 dimensions of a head.
struct Sums<'a, X, W> {
    scratch: &'a Scratch<X, W>,
    values: &'a [*const W],
    /// To be prefetched.
    keys: &'a [*const W],
    /// Row length of a head, padded.
    row_len: usize,
}

impl<S: Dot<W>, W> Grid<S, W> for Sums<'_, S::X, W> {
    #[inline(always)]
    unsafe fn tile<const M: usize, const P: usize>(&self, row: usize, panel: usize, pass: usize) {
        unsafe {
            let to = self.scratch.sums.add(row * self.row_len + panel * PANEL);
            let mut sums = [[S::zero(); P]; M];
            for m in 0..M {
                let correction = *self.scratch.corrections.add(row + m);
                for p in 0..P {
                    let sum = S::load(to.add(m * self.row_len + p * PANEL));
                    sums[m][p] = S::scale(sum, correction);
                }
            }
            for block in 0..self.values.len() {
                let (mut values, mut keys) = ([self.values[block]; P], [self.keys[block]; P]);
                for p in 0..P {
                    let panel = (panel + p) * PANEL * BLOCK_SIZE;
                    values[p] = values[p].add(panel);
                    keys[p] = keys[p].wrapping_add(panel);
                }
                let x = self
                    .scratch
                    .probabilities
                    .add(row * CHUNK + block * BLOCK_SIZE);
                let pairs = const { BLOCK_SIZE / 2 };
                sums = if pass == 0 {
                    let ahead = Ahead::straight(keys);
                    dot_panels::<S, W, M, P, P>(sums, values, ahead, x, CHUNK, pairs)
                } else {
                    dot_panels::<S, W, M, P, 0>(sums, values, Ahead::NOTHING, x, CHUNK, pairs)
                };
            }
            for m in 0..M {
                for p in 0..P {
                    S::store(to.add(m * self.row_len + p * PANEL), sums[m][p]);
                }
            }
        }
    }
}

/// Turns the scores of one row and chunk into probabilities relative to the highest score so far.
/// Tokens outside `visible` get 0.
#[inline(always)]
unsafe fn softmax_row<S: Lanes, X: Activation, W>(
    scratch: &Scratch<X, W>,
    row: usize,
    visible: Range<usize>,
    tokens: usize,
) {
    let (scores, probabilities, maximum, total, correction) = unsafe {
        (
            std::slice::from_raw_parts_mut(scratch.scores.add(row * CHUNK), tokens),
            std::slice::from_raw_parts_mut(scratch.probabilities.add(row * CHUNK), tokens),
            &mut *scratch.maxima.add(row),
            &mut *scratch.totals.add(row),
            &mut *scratch.corrections.add(row),
        )
    };
    let visible = visible.start..visible.end.min(tokens);
    if visible.is_empty() {
        for probability in probabilities {
            *probability = X::from_f32(0.0);
        }
        *correction = 1.0;
        return;
    }
    for score in &mut scores[..visible.start] {
        *score = f32::NEG_INFINITY;
    }
    for score in &mut scores[visible.end..] {
        *score = f32::NEG_INFINITY;
    }

    let (chunks, _) = scores.as_chunks::<LANES>();
    let mut maxima = [*maximum; LANES];
    for chunk in chunks {
        for lane in 0..LANES {
            maxima[lane] = if chunk[lane] > maxima[lane] {
                chunk[lane]
            } else {
                maxima[lane]
            };
        }
    }
    let mut highest = *maximum;
    for lane in maxima {
        highest = if lane > highest { lane } else { highest };
    }

    let mut sums = [0.0; LANES];
    let (to, _) = probabilities.as_chunks_mut::<LANES>();
    for (chunk, to) in chunks.iter().zip(to) {
        for lane in 0..LANES {
            let probability = exp::<S>(chunk[lane] - highest);
            sums[lane] += probability;
            to[lane] = X::from_f32(probability);
        }
    }
    let mut sum = 0.0;
    for lane in sums {
        sum += lane;
    }
    *correction = exp::<S>(*maximum - highest);
    *total = *total * *correction + sum;
    *maximum = highest;
}
