//! Drawing a token from a filtered distribution.

use super::cut::{Cut, Measure};
use crate::philox::philox4x32;
use crate::simd::{Kernel, LANES, Simd, SimdLevel, dispatch, exp};

/// Tokens per block. When the drawn token is searched, a block's weight is one sum.
const BLOCK: usize = 512;

/// The distribution to draw from.
pub(super) struct Shape {
    /// Above 0.
    pub(super) temperature: f32,
    /// 0 keeps all.
    pub(super) min_p: f32,
    /// 0 keeps all.
    pub(super) top_k: usize,
    /// 1 keeps all.
    pub(super) top_p: f32,
}

/// Buffers of a draw, reused from row to row.
#[derive(Default)]
pub(super) struct Draw {
    /// `e^((logit - highest) / temperature)`: the most likely token has 1.
    weights: Vec<f32>,
    /// The highest weight in each of a block's [`LANES`] lanes.
    lane_maxima: Vec<f32>,
    /// `lane_maxima` in another order.
    ranked: Vec<f32>,
    blocks: Vec<Block>,
}

/// What a cut keeps of [`BLOCK`] tokens.
#[derive(Clone, Copy, Default)]
struct Block {
    /// Of the tokens above the cut.
    mass: f64,
    /// Tokens at the cut.
    ties: usize,
}

impl Draw {
    /// A token of `logits`, whose maximum is `highest`.
    pub(super) fn token(
        &mut self,
        level: SimdLevel,
        logits: &[f32],
        highest: f32,
        shape: &Shape,
        seed: u64,
        position: u64,
    ) -> usize {
        let blocks = logits.len().div_ceil(BLOCK);
        self.weights.resize(logits.len(), 0.0);
        self.lane_maxima.resize(blocks * LANES, 0.0);
        self.blocks.resize(blocks, Block::default());
        dispatch(
            level,
            Weigh {
                logits,
                highest,
                temperature: shape.temperature,
                weights: &mut self.weights,
                lane_maxima: &mut self.lane_maxima,
            },
        );
        let cut = self.cut(level, shape);
        let total = self.keep(level, cut);
        self.find(cut, uniform(seed, position) * total)
    }

    /// The intersection of all filters.
    fn cut(&mut self, level: SimdLevel, shape: &Shape) -> Cut {
        let mut cut = Cut::ALL;
        if shape.min_p > 0.0 {
            cut = Cut::at_least(shape.min_p.min(1.0));
        }
        if (1..self.weights.len()).contains(&shape.top_k) {
            let least = self.weight_of_rank(shape.top_k).max(cut.weight);
            let (measure, target) = (Measure::Count, shape.top_k as f64);
            cut = cut.and(Cut::select(level, &self.weights, measure, target, least));
        }
        if shape.top_p < 1.0 {
            let total = self.keep(level, cut);
            // All lighter tokens together have less weight than top-p leaves out.
            let left_out = (1.0 - f64::from(shape.top_p)) * total;
            let least = (left_out / self.weights.len() as f64) as f32 * 0.999;
            let (measure, target) = (Measure::Mass, f64::from(shape.top_p) * total);
            let least = least.max(cut.weight);
            cut = cut.and(Cut::select(level, &self.weights, measure, target, least));
        }
        cut
    }

    /// A weight that at least `rank` tokens reach: `rank` maxima of lanes do, and each belongs to
    /// another token.
    fn weight_of_rank(&mut self, rank: usize) -> f32 {
        if rank > self.lane_maxima.len() {
            return 0.0;
        }
        self.ranked.clone_from(&self.lane_maxima);
        let descending = |a: &f32, b: &f32| b.total_cmp(a);
        *self.ranked.select_nth_unstable_by(rank - 1, descending).1
    }

    /// Sums up what a cut keeps, block by block, and returns the total mass.
    fn keep(&mut self, level: SimdLevel, cut: Cut) -> f64 {
        dispatch(
            level,
            Keep {
                weights: &self.weights,
                lane_maxima: &self.lane_maxima,
                cut: cut.weight,
                blocks: &mut self.blocks,
            },
        );
        let mut ties_left = cut.ties;
        for block in &mut self.blocks {
            block.ties = block.ties.min(ties_left);
            ties_left -= block.ties;
        }
        let mass = |block: &Block| block.total(cut);
        self.blocks.iter().map(mass).sum()
    }

    /// The kept token at which the mass, summed in the order of ids, passes `target`. In the order
    /// of weights, a last-bit change of a logit could swap two tokens; in the order of ids it only
    /// moves a boundary slightly.
    fn find(&self, cut: Cut, target: f64) -> usize {
        let mut sum = 0.0;
        let mut last = 0;
        for (index, block) in self.blocks.iter().enumerate() {
            let mass = block.total(cut);
            if mass <= 0.0 {
                continue;
            }
            last = index;
            if sum + mass > target {
                break;
            }
            sum += mass;
        }
        // The sum may end slightly below the target because of rounding. Then the last token is the
        // answer.
        let mut token = last * BLOCK;
        let mut ties_left = self.blocks[last].ties;
        let weights = self.weights.iter().enumerate();
        for (index, weight) in weights.skip(last * BLOCK).take(BLOCK) {
            let is_tie = *weight == cut.weight && ties_left > 0;
            ties_left -= usize::from(is_tie);
            if *weight > cut.weight || is_tie {
                token = index;
                sum += f64::from(*weight);
                if sum > target {
                    break;
                }
            }
        }
        token
    }
}

impl Block {
    fn total(&self, cut: Cut) -> f64 {
        self.mass + self.ties as f64 * f64::from(cut.weight)
    }
}

/// A number in `[0, 1)` with 53 random bits.
fn uniform(seed: u64, position: u64) -> f64 {
    let counter = [position as u32, (position >> 32) as u32, 0, 0];
    let words = philox4x32(counter, [seed as u32, (seed >> 32) as u32]);
    let bits = (u64::from(words[0]) << 32 | u64::from(words[1])) >> 11;
    bits as f64 / (1_u64 << 53) as f64
}

struct Weigh<'a> {
    logits: &'a [f32],
    highest: f32,
    temperature: f32,
    weights: &'a mut [f32],
    lane_maxima: &'a mut [f32],
}

impl Kernel for Weigh<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let blocks = self
            .logits
            .chunks(BLOCK)
            .zip(self.weights.chunks_mut(BLOCK));
        let maxima = self.lane_maxima.as_chunks_mut::<LANES>().0;
        for ((logits, weights), maxima) in blocks.zip(maxima) {
            for (weight, logit) in weights.iter_mut().zip(logits) {
                // A division, because the inverse of a tiny temperature is infinite.
                *weight = exp::<S>((*logit - self.highest) / self.temperature);
            }
            let mut highest = [0.0_f32; LANES];
            let (chunks, rest) = weights.as_chunks::<LANES>();
            for chunk in chunks {
                for lane in 0..LANES {
                    highest[lane] = highest[lane].max(chunk[lane]);
                }
            }
            for (lane, weight) in rest.iter().enumerate() {
                highest[lane] = highest[lane].max(*weight);
            }
            *maxima = highest;
        }
    }
}

struct Keep<'a> {
    weights: &'a [f32],
    lane_maxima: &'a [f32],
    cut: f32,
    blocks: &'a mut [Block],
}

impl Kernel for Keep<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let blocks = self.weights.chunks(BLOCK).zip(self.blocks);
        let maxima = self.lane_maxima.as_chunks::<LANES>().0;
        for ((weights, block), maxima) in blocks.zip(maxima) {
            *block = Block::default();
            let mut highest = 0.0_f32;
            for lane in maxima {
                highest = highest.max(*lane);
            }
            if highest < self.cut {
                continue;
            }
            let mut masses = [0.0_f64; LANES];
            let mut ties = [0_u32; LANES];
            let (chunks, rest) = weights.as_chunks::<LANES>();
            for chunk in chunks {
                for lane in 0..LANES {
                    let kept = if chunk[lane] > self.cut {
                        chunk[lane]
                    } else {
                        0.0
                    };
                    masses[lane] += f64::from(kept);
                }
            }
            // A separate loop: with both in one the compiler does not vectorise.
            for chunk in chunks {
                for lane in 0..LANES {
                    ties[lane] += u32::from(chunk[lane] == self.cut);
                }
            }
            for (lane, weight) in rest.iter().enumerate() {
                if *weight > self.cut {
                    masses[lane] += f64::from(*weight);
                }
                ties[lane] += u32::from(*weight == self.cut);
            }
            for lane in 0..LANES {
                block.mass += masses[lane];
                block.ties += ties[lane] as usize;
            }
        }
    }
}
