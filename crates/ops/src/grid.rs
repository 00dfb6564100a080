//! Register tiles: a few rows of activations times a few panels of weights.

use std::ops::Range;
use std::sync::atomic::{Ordering, compiler_fence};

use crate::linear_weight::PANEL;
use crate::simd::{Dot, MAX_TILE_ROWS};

/// A matrix product whose output is computed tile by tile.
pub(crate) trait Grid<S: Dot<W>, W> {
    /// Computes M rows from `row` on of P panels from `panel` on; `pass` counts from 0 the tiles
    /// that go through the same panels with other rows.
    ///
    /// # Safety
    /// The CPU has `S`, and the grid has the rows and panels.
    unsafe fn tile<const M: usize, const P: usize>(&self, row: usize, panel: usize, pass: usize);
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
    if rows.is_empty() {
        return;
    }
    // The first tile waits for memory and has as many rows as possible. The others find the panels
    // in a cache and have nearly equal numbers of rows: a last tile of one row would waste most of
    // its loads.
    let first_end = (rows.start + MAX_TILE_ROWS).min(rows.end);
    let tiles = (rows.end - first_end).div_ceil(MAX_TILE_ROWS);
    let end_of = |tile: usize| first_end + (rows.end - first_end) * tile / tiles.max(1);
    let mut row = rows.start;
    for pass in 0..=tiles {
        let end = end_of(pass);
        let panels = panels.clone();
        unsafe {
            match end - row {
                1 => tile_row::<S, W, 1>(grid, row, panels, pass),
                2 => tile_row::<S, W, 2>(grid, row, panels, pass),
                3 => tile_row::<S, W, 3>(grid, row, panels, pass),
                4 => tile_row::<S, W, 4>(grid, row, panels, pass),
                5 => tile_row::<S, W, 5>(grid, row, panels, pass),
                _ => tile_row::<S, W, 6>(grid, row, panels, pass),
            }
        }
        row = end;
    }
}

#[inline(always)]
unsafe fn tile_row<S: Dot<W>, W, const M: usize>(
    grid: &impl Grid<S, W>,
    row: usize,
    panels: Range<usize>,
    pass: usize,
) {
    let mut panel = panels.start;
    // The conditions are constant: tiles that `S` does not support are not compiled.
    unsafe {
        if const { S::TILE_PANELS[M] == 6 } {
            while panel + 6 <= panels.end {
                grid.tile::<M, 6>(row, panel, pass);
                panel += 6;
            }
        }
        if const { S::TILE_PANELS[M] == 4 } {
            while panel + 4 <= panels.end {
                grid.tile::<M, 4>(row, panel, pass);
                panel += 4;
            }
        }
        if const { S::TILE_PANELS[M] >= 2 } {
            while panel + 2 <= panels.end {
                grid.tile::<M, 2>(row, panel, pass);
                panel += 2;
            }
        }
        while panel < panels.end {
            grid.tile::<M, 1>(row, panel, pass);
            panel += 1;
        }
    }
}

/// Memory to prefetch: for each multiplied pair, the cache lines of the same pair in these panels.
/// They are never read, so any address is allowed.
pub(crate) struct Ahead<W, const P: usize> {
    pub(crate) panels: [*const W; P],
    /// From this pair on, the lines `skip` pairs further are prefetched.
    pub(crate) turn: usize,
    pub(crate) skip: usize,
}

impl<W> Ahead<W, 0> {
    pub(crate) const NOTHING: Self = Self {
        panels: [],
        turn: usize::MAX,
        skip: 0,
    };
}

impl<W, const P: usize> Ahead<W, P> {
    pub(crate) fn straight(panels: [*const W; P]) -> Self {
        Self {
            panels,
            turn: usize::MAX,
            skip: 0,
        }
    }
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
    ahead: Ahead<W, A>,
    x: *const S::X,
    x_stride: usize,
    pairs: usize,
) -> [[S::F32; P]; M] {
    for pair in 0..pairs {
        unsafe {
            if A > 0 {
                let next = if pair < ahead.turn {
                    pair
                } else {
                    pair + ahead.skip
                };
                for panel in ahead.panels {
                    S::prefetch_pair(panel.wrapping_add(next * 2 * PANEL));
                }
            }
            for step in 0..S::STEPS {
                // Otherwise the compiler loads both inputs of a pair before the first
                // multiplication, and spills a sum to memory.
                if step > 0 && M * P >= S::FENCED_SUMS {
                    compiler_fence(Ordering::SeqCst);
                }
                if M > P {
                    // A row's activation is used for all panels before the next one is loaded. This
                    // is a plain loop because a closure would be compiled without the level's
                    // instructions.
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
