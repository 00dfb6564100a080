//! The matrix product behind every weight: activations times packed panels.

use std::cell::RefCell;
use std::ops::Range;

use candle_core::{CpuStorage, Layout, Result, bail};
use half::bf16;

use crate::grid::{Ahead, Grid, dot_panels, for_each_tile};
use crate::linear_weight::{PANEL, panel_len};
use crate::operand::source;
use crate::pool;
use crate::simd::{
    Activation, Dot, Kernel, LANES, Lanes, MAX_TILE_ROWS, Simd, SimdLevel, dispatch,
};

/// Maximum number of rows that share a pass over the weights. Their activations fit the
/// second-level cache.
const BLOCK_ROWS: usize = 96;

/// Panels that a tile of rows processes before the next tile: its activations stay in the
/// first-level cache, the panels in the second.
const PANEL_GROUP: usize = 6;

/// How many pairs of weights ahead to prefetch, over all panels of a tile together. At 64 bytes a
/// pair and memory speed, that is about the memory's latency. The hardware prefetches within a page
/// of 4 KiB only.
const PREFETCH: usize = 64;

/// The same for one row of one panel, whose weights are one stream: the hardware prefetches it, and
/// more would only take the places of its own prefetches.
const PREFETCH_OF_ONE_STREAM: usize = 4;

/// Rows of activations that lie a multiple of this apart fall into the same few places of a first-level
/// cache and push each other out. So a cache line is left free between them. Measured on an EPYC with
/// AVX2: 31 rows of 4,096 inputs are twice as fast, of 1,536 inputs by a third.
const COLLISION_BYTES: usize = 1024;

/// Multiplications per task: about 4 µs, or 20 µs if the weights come from memory.
const TASK_WORK: usize = 128 * 1024;

/// The same for one row, which waits for memory: about 3 µs. The threads do not get the same share of
/// the memory's speed, and at the end of a product all but one wait for half a task on average.
const STREAM_WORK: usize = 32 * 1024;

/// A thread takes about this many tasks of one row's product at most: more cost time and end no sooner.
const MOST_TURNS: usize = 64;

/// `out [rows, out_features] (+)= x [rows, in_features] · weightᵀ`. Rows of `x` and `out` may have
/// strides.
pub(crate) struct Gemm<'a> {
    pub(crate) x: &'a [f32],
    pub(crate) x_stride: usize,
    pub(crate) out: Output,
    pub(crate) rows: usize,
    pub(crate) weight: Panels<'a>,
    pub(crate) in_features: usize,
    pub(crate) out_features: usize,
    /// Whether to add to `out` or overwrite it.
    pub(crate) add: bool,
}

/// A task computes `block_rows` rows of `panels` panels; the last one of each may have fewer.
struct Shares {
    block_rows: usize,
    panels: usize,
    /// Tasks over the rows.
    blocks: usize,
    /// Tasks over the panels.
    columns: usize,
}

/// The destination of a product. Tasks write disjoint parts of it.
#[derive(Clone, Copy)]
pub(crate) struct Output {
    start: *mut f32,
    stride: usize,
}

// SAFETY: it is made from an exclusive slice, and tasks write disjoint rows and columns.
unsafe impl Send for Output {}
// SAFETY: as above.
unsafe impl Sync for Output {}

impl Output {
    /// The columns of `out` from `column` on; rows of `out` are `stride` apart.
    pub(crate) fn new(out: &mut [f32], stride: usize, column: usize) -> Self {
        Self {
            start: out[column..].as_mut_ptr(),
            stride,
        }
    }
}

/// The elements of a [`crate::LinearWeight`].
#[derive(Clone, Copy)]
pub(crate) enum Panels<'a> {
    Bf16(&'a [bf16]),
    F32(&'a [f32]),
}

impl<'a> Panels<'a> {
    pub(crate) fn new(storage: &'a CpuStorage, layout: &Layout) -> Result<Self> {
        match storage {
            CpuStorage::BF16(_) => source("weight", storage, layout).map(Self::Bf16),
            CpuStorage::F32(_) => source("weight", storage, layout).map(Self::F32),
            _ => bail!("weights must be BF16 or F32"),
        }
    }
}

thread_local! {
    /// Activations in the form that the dot product needs, if `x` does not have it.
    static PACKED: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
}

/// Computes all products. The thread pool shares their work.
pub(crate) fn run(products: &[Gemm<'_>]) {
    let level = SimdLevel::current();
    PACKED.with_borrow_mut(|packed| {
        let needed = products
            .iter()
            .map(|product| product.packed_len(level))
            .sum();
        if packed.len() < needed {
            packed.resize(needed, 0.0);
        }
        let mut free = packed.as_mut_slice();
        let mut parts = Vec::with_capacity(products.len());
        for product in products {
            let (own, rest) = std::mem::take(&mut free).split_at_mut(product.packed_len(level));
            product.pack(level, own);
            parts.push((product, product.shares(), &*own));
            free = rest;
        }
        let tasks = parts.iter().map(|(_, shares, _)| shares.tasks()).sum();
        pool::run(tasks, |mut task| {
            for (product, shares, packed) in &parts {
                if task < shares.tasks() {
                    dispatch(level, product.tile(shares, task, packed));
                    return;
                }
                task -= shares.tasks();
            }
        });
    });
}

impl Shares {
    fn tasks(&self) -> usize {
        self.blocks * self.columns
    }
}

impl<'a> Gemm<'a> {
    fn panels(&self) -> usize {
        self.out_features.div_ceil(PANEL)
    }

    /// How the product is divided into tasks.
    fn shares(&self) -> Shares {
        let blocks = self.rows.div_ceil(BLOCK_ROWS);
        // Whole tiles, so that few tiles have less than the maximum number of rows.
        let block_rows = self.rows.div_ceil(blocks.max(1));
        let block_rows = match blocks {
            0 | 1 => block_rows,
            _ => block_rows.next_multiple_of(MAX_TILE_ROWS),
        };
        let blocks = self.rows.div_ceil(block_rows.max(1));
        // One row uses each panel once, so it needs no groups.
        let group = if self.rows == 1 { 1 } else { PANEL_GROUP };
        let groups = self.panels().div_ceil(group);
        let group_work = group * panel_len(self.in_features) * block_rows;
        let threads = pool::num_threads();
        // As many groups as make a worthwhile task, or fewer if the threads then finish together.
        let longest_share = |&groups_each: &usize| {
            let tasks = blocks * groups.div_ceil(groups_each);
            tasks.div_ceil(threads) * groups_each
        };
        let worth = match self.rows {
            1 => (STREAM_WORK / group_work.max(1)).max(groups / (MOST_TURNS * threads)),
            _ => TASK_WORK / group_work.max(1),
        };
        let worth = worth.clamp(1, groups.div_ceil(threads).max(1));
        let groups_each = (1..=worth).rev().min_by_key(longest_share).unwrap_or(1);
        Shares {
            block_rows,
            panels: groups_each * group,
            blocks,
            columns: groups.div_ceil(groups_each),
        }
    }

    fn tile(&'a self, shares: &Shares, task: usize, packed: &'a [f32]) -> Tile<'a> {
        let block = task / shares.columns;
        let column = task % shares.columns;
        let (row, panel) = (block * shares.block_rows, column * shares.panels);
        Tile {
            product: self,
            packed,
            rows: row..(row + shares.block_rows).min(self.rows),
            panels: panel..(panel + shares.panels).min(self.panels()),
        }
    }

    fn is_rounded(&self, level: SimdLevel) -> bool {
        level.rounds_activations() && matches!(self.weight, Panels::Bf16(_))
    }

    /// Words for the packed activations; 0 if `x` can be used directly.
    fn packed_len(&self, level: SimdLevel) -> usize {
        let pairs = self.in_features.div_ceil(2);
        let is_rounded = self.is_rounded(level);
        let words = if is_rounded { pairs } else { pairs * 2 };
        let collides = self.rows > 1 && (words * size_of::<f32>()).is_multiple_of(COLLISION_BYTES);
        if collides {
            self.rows * (words + LANES)
        } else if is_rounded || !self.in_features.is_multiple_of(2) {
            self.rows * words
        } else {
            0
        }
    }

    fn pack(&self, level: SimdLevel, packed: &mut [f32]) {
        if packed.is_empty() {
            return;
        }
        let row_len = packed.len() / self.rows;
        let rounded = self.is_rounded(level);
        pool::for_each_row(packed, row_len, TASK_WORK / 4, |row, packed| {
            let x = &self.x[row * self.x_stride..][..self.in_features];
            dispatch(level, Pack { x, packed, rounded });
        });
    }
}

struct Pack<'a> {
    x: &'a [f32],
    packed: &'a mut [f32],
    rounded: bool,
}

impl Kernel for Pack<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let to = self.packed.as_mut_ptr();
        if self.rounded {
            // SAFETY: a row of words has room for as many pairs.
            let to = unsafe { std::slice::from_raw_parts_mut(to.cast(), self.packed.len() * 2) };
            unsafe { pack_row::<bf16>(self.x, to) };
        } else {
            unsafe { pack_row::<f32>(self.x, self.packed) };
        }
    }
}

/// Copies a row and pads it with zeros.
#[inline(always)]
unsafe fn pack_row<X: Activation>(x: &[f32], packed: &mut [X]) {
    for (to, from) in packed.iter_mut().zip(x) {
        *to = X::from_f32(*from);
    }
    for to in &mut packed[x.len()..] {
        *to = X::from_f32(0.0);
    }
}

/// The part of a product that one task computes.
struct Tile<'a> {
    product: &'a Gemm<'a>,
    packed: &'a [f32],
    rows: Range<usize>,
    panels: Range<usize>,
}

impl Kernel for Tile<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        // SAFETY: `Gemm`'s slices hold its rows and panels.
        unsafe {
            match self.product.weight {
                Panels::Bf16(weight) => self.multiply::<S, bf16>(weight),
                Panels::F32(weight) => self.multiply::<S, f32>(weight),
            }
        }
    }
}

impl Tile<'_> {
    #[inline(always)]
    unsafe fn multiply<S: Dot<W>, W>(&self, weight: &[W]) {
        let pairs = self.product.in_features.div_ceil(2);
        let (x, x_stride) = if self.packed.is_empty() {
            (self.product.x.as_ptr().cast(), self.product.x_stride)
        } else {
            let row_bytes = size_of_val(self.packed) / self.product.rows;
            (self.packed.as_ptr().cast(), row_bytes / size_of::<S::X>())
        };
        let grid = Product::<S::X, W> {
            x,
            x_stride,
            weight: weight.as_ptr(),
            pairs,
            out: self.product.out,
            out_features: self.product.out_features,
            add: self.product.add,
        };
        for group in self.panels.clone().step_by(PANEL_GROUP) {
            let panels = group..(group + PANEL_GROUP).min(self.panels.end);
            unsafe { for_each_tile::<S, W>(&grid, self.rows.clone(), panels) };
        }
    }
}

/// A product whose activations have the form that the dot product needs.
struct Product<X, W> {
    x: *const X,
    x_stride: usize,
    weight: *const W,
    pairs: usize,
    out: Output,
    out_features: usize,
    add: bool,
}

impl<S: Dot<W>, W> Grid<S, W> for Product<S::X, W> {
    #[inline(always)]
    unsafe fn tile<const M: usize, const P: usize>(&self, row: usize, panel: usize, pass: usize) {
        unsafe {
            let mut weights = [self.weight; P];
            for p in 0..P {
                weights[p] = self.weight.add((panel + p) * self.pairs * 2 * PANEL);
            }
            let x = self.x.add(row * self.x_stride);
            let zero = [[S::zero(); P]; M];
            let (x_stride, pairs) = (self.x_stride, self.pairs);
            let sums = if pass == 0 {
                // After the last pairs of these panels come the first of the next P panels.
                let ahead = match M * P {
                    1 => PREFETCH_OF_ONE_STREAM,
                    _ => PREFETCH / P,
                };
                let distance = ahead.min(pairs);
                let mut panels = weights;
                for p in 0..P {
                    panels[p] = panels[p].wrapping_add(distance * 2 * PANEL);
                }
                let ahead = Ahead {
                    panels,
                    turn: pairs - distance,
                    skip: (P - 1) * pairs,
                };
                dot_panels::<S, W, M, P, P>(zero, weights, ahead, x, x_stride, pairs)
            } else {
                // The first pass has brought these panels into a cache.
                dot_panels::<S, W, M, P, 0>(zero, weights, Ahead::NOTHING, x, x_stride, pairs)
            };
            for m in 0..M {
                for p in 0..P {
                    let column = (panel + p) * PANEL;
                    let out = self.out.start.add((row + m) * self.out.stride + column);
                    store::<S>(out, sums[m][p], self.add, self.out_features - column);
                }
            }
        }
    }
}

/// Writes or adds a vector, or only its first `lanes` lanes.
#[inline(always)]
unsafe fn store<S: Lanes>(out: *mut f32, sum: S::F32, add: bool, lanes: usize) {
    unsafe {
        if lanes >= PANEL {
            S::store(out, if add { S::add(S::load(out), sum) } else { sum });
        } else {
            let mut whole = [0.0; PANEL];
            S::store(whole.as_mut_ptr(), sum);
            for (lane, value) in whole.iter().enumerate().take(lanes) {
                let out = out.add(lane);
                *out = if add { *out + value } else { *value };
            }
        }
    }
}
