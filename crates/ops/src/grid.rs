//! Register tiles: a few rows of activations times a few panels of weights.

use std::ops::Range;
use std::sync::atomic::{Ordering, compiler_fence};

use crate::linear_weight::PANEL;
use crate::simd::{Dot, MAX_TILE_ROWS};

/// Tiles of so many rows fill the registers with their sums. The compiler would load both inputs of a
/// pair before it multiplies the first, and keep a sum in memory for that: a fence stops it.
const FENCED_ROWS: usize = 4;

/// Bytes of a cache line.
const LINE: usize = 64;

/// A matrix product whose output is computed tile by tile.
pub(crate) trait Grid<S: Dot<W>, W> {
    /// Computes M rows from `row` on of P panels from `panel` on.
    ///
    /// # Safety
    /// The CPU has `S`, and the grid has the rows and panels.
    unsafe fn tile<const M: usize, const P: usize>(&self, row: usize, panel: usize);
}

/// Cuts rows and panels into tiles that fit the registers of `S`, a tile's rows going through all
/// panels before the next rows do.
///
/// # Safety
/// The CPU has `S`, and the grid has the rows and panels.
#[inline(always)]
pub(crate) unsafe fn for_each_tile<S: Dot<W>, W>(
    grid: &impl Grid<S, W>,
    rows: Range<usize>,
    panels: Range<usize>,
) {
    let tiles = rows.len().div_ceil(MAX_TILE_ROWS);
    for tile in 0..tiles {
        // Tiles of nearly equal height: a last tile of one row would waste most of its loads.
        let row = rows.start + rows.len() * tile / tiles;
        let end = rows.start + rows.len() * (tile + 1) / tiles;
        let panels = panels.clone();
        unsafe {
            match end - row {
                1 => tile_row::<S, W, 1>(grid, row, panels),
                2 => tile_row::<S, W, 2>(grid, row, panels),
                3 => tile_row::<S, W, 3>(grid, row, panels),
                4 => tile_row::<S, W, 4>(grid, row, panels),
                5 => tile_row::<S, W, 5>(grid, row, panels),
                _ => tile_row::<S, W, 6>(grid, row, panels),
            }
        }
    }
}

#[inline(always)]
unsafe fn tile_row<S: Dot<W>, W, const M: usize>(
    grid: &impl Grid<S, W>,
    row: usize,
    panels: Range<usize>,
) {
    let mut panel = panels.start;
    // Constant conditions: tiles that `S` does not have are not compiled.
    unsafe {
        if const { S::TILE_PANELS[M] == 6 } {
            while panel + 6 <= panels.end {
                grid.tile::<M, 6>(row, panel);
                panel += 6;
            }
        }
        if const { S::TILE_PANELS[M] == 4 } {
            while panel + 4 <= panels.end {
                grid.tile::<M, 4>(row, panel);
                panel += 4;
            }
        }
        if const { S::TILE_PANELS[M] >= 2 } {
            while panel + 2 <= panels.end {
                grid.tile::<M, 2>(row, panel);
                panel += 2;
            }
        }
        while panel < panels.end {
            grid.tile::<M, 1>(row, panel);
            panel += 1;
        }
    }
}

/// Memory that is needed next: for each pair that is multiplied, the cache lines of the same pair of
/// these panels are asked for. They are never read and may lie anywhere.
pub(crate) struct Ahead<const P: usize> {
    pub(crate) panels: [*const u8; P],
    /// Bytes of a pair there.
    pub(crate) pair_bytes: usize,
    /// From this pair on, those `skip` pairs further are asked for instead.
    pub(crate) turn: usize,
    pub(crate) skip: usize,
}

impl Ahead<0> {
    /// Nothing is asked for.
    pub(crate) const NOTHING: Self = Self {
        panels: [],
        pair_bytes: 0,
        turn: usize::MAX,
        skip: 0,
    };
}

impl<const P: usize> Ahead<P> {
    pub(crate) fn straight<W>(panels: [*const W; P]) -> Self {
        Self {
            panels: panels.map(<*const W>::cast),
            pair_bytes: pair_bytes::<W>(),
            turn: usize::MAX,
            skip: 0,
        }
    }
}

/// Bytes of a pair of inputs in a panel.
pub(crate) const fn pair_bytes<W>() -> usize {
    2 * PANEL * size_of::<W>()
}

/// `sums[m][p] += Σ over pairs of x[m] · weights[p]`: M rows of activations times P panels.
///
/// # Safety
/// The CPU has `S`, each of `weights` points to `pairs` pairs of 16, and each of M rows of
/// activations, `x_stride` apart, to `pairs` pairs.
#[inline(always)]
pub(crate) unsafe fn dot_panels<S: Dot<W>, W, const M: usize, const P: usize, const A: usize>(
    mut sums: [[S::F32; P]; M],
    weights: [*const W; P],
    ahead: Ahead<A>,
    x: *const S::X,
    x_stride: usize,
    pairs: usize,
) -> [[S::F32; P]; M] {
    for pair in 0..pairs {
        unsafe {
            let next = if pair < ahead.turn {
                pair
            } else {
                pair + ahead.skip
            };
            for panel in ahead.panels {
                for line in (0..ahead.pair_bytes).step_by(LINE) {
                    S::prefetch(panel.wrapping_add(next * ahead.pair_bytes + line));
                }
            }
            for step in 0..S::STEPS {
                if step > 0 && M >= FENCED_ROWS {
                    compiler_fence(Ordering::SeqCst);
                }
                if M > P {
                    // A row's activation serves all panels before the next one is loaded. A plain
                    // loop: a closure would be compiled without the level's instructions.
                    let mut panel_weights = [S::weights(weights[0].add(pair * 2 * PANEL), step); P];
                    for p in 1..P {
                        panel_weights[p] = S::weights(weights[p].add(pair * 2 * PANEL), step);
                    }
                    for m in 0..M {
                        let x = S::broadcast(x.add(m * x_stride + pair * 2), step);
                        for p in 0..P {
                            sums[m][p] = S::dot(sums[m][p], panel_weights[p], x);
                        }
                    }
                } else {
                    // The weights of one panel at a time are in registers.
                    for p in 0..P {
                        let weights = S::weights(weights[p].add(pair * 2 * PANEL), step);
                        for m in 0..M {
                            let x = S::broadcast(x.add(m * x_stride + pair * 2), step);
                            sums[m][p] = S::dot(sums[m][p], weights, x);
                        }
                    }
                }
            }
        }
    }
    sums
}
