//! Drawing a token from a filtered distribution.

use std::cmp::Ordering;

use crate::philox::philox4x32;
use crate::simd::{Kernel, LANES, Simd, SimdLevel, dispatch, exp};

/// Tokens whose weights are summed as one when the drawn one is looked for.
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

/// Buffers of a draw, kept from row to row.
#[derive(Default)]
pub(super) struct Draw {
    /// `e^((logit - highest) / temperature)`: the likeliest token has 1.
    weights: Vec<f32>,
    /// Sums of [`BLOCK`] weights each.
    block_sums: Vec<f64>,
    candidates: Vec<Candidate>,
}

#[derive(Clone, Copy)]
struct Candidate {
    weight: f32,
    token: u32,
}

impl Candidate {
    /// The likelier first, the lower id on a tie.
    fn likelier(&self, other: &Self) -> Ordering {
        other
            .weight
            .total_cmp(&self.weight)
            .then(self.token.cmp(&other.token))
    }
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
        self.weights.resize(logits.len(), 0.0);
        self.block_sums.resize(logits.len().div_ceil(BLOCK), 0.0);
        dispatch(
            level,
            Weigh {
                logits,
                highest,
                temperature: shape.temperature,
                weights: &mut self.weights,
                block_sums: &mut self.block_sums,
            },
        );
        let uniform = uniform(seed, position);
        let limits_top_k = shape.top_k > 0 && shape.top_k < logits.len();
        if shape.min_p > 0.0 || limits_top_k || shape.top_p < 1.0 {
            self.filter(shape, limits_top_k);
            self.draw_candidate(uniform)
        } else {
            self.draw_any(uniform)
        }
    }

    /// Leaves the tokens that `shape` keeps, in the order of their ids.
    fn filter(&mut self, shape: &Shape, limits_top_k: bool) {
        let min_p = shape.min_p.min(1.0);
        // Tokens below this weight sum to less than 1 - top_p of all, so that the likelier ones
        // reach top_p without them: most of the vocabulary need not be sorted.
        let negligible = if shape.top_p < 1.0 && !limits_top_k && min_p <= 0.0 {
            let total: f64 = self.block_sums.iter().sum();
            ((1.0 - f64::from(shape.top_p)) * total / self.weights.len() as f64).min(1.0) as f32
        } else {
            0.0
        };
        let least = min_p.max(negligible * (1.0 - 1e-3)).max(f32::MIN_POSITIVE);
        self.candidates.clear();
        let blocks = self.weights.chunks(BLOCK).zip(&self.block_sums);
        for (block, (weights, sum)) in blocks.enumerate() {
            // Where the whole block weighs too little, each of its tokens does.
            if *sum < f64::from(least) * (1.0 - 1e-3) {
                continue;
            }
            for (i, weight) in weights.iter().enumerate() {
                if *weight >= least {
                    let token = (block * BLOCK + i) as u32;
                    self.candidates.push(Candidate {
                        weight: *weight,
                        token,
                    });
                }
            }
        }
        if limits_top_k && shape.top_k < self.candidates.len() {
            self.candidates
                .select_nth_unstable_by(shape.top_k - 1, Candidate::likelier);
            self.candidates.truncate(shape.top_k);
        }
        if shape.top_p < 1.0 {
            let total: f64 = if limits_top_k || min_p > 0.0 {
                self.candidates
                    .iter()
                    .map(|candidate| f64::from(candidate.weight))
                    .sum()
            } else {
                self.block_sums.iter().sum()
            };
            self.candidates.sort_unstable_by(Candidate::likelier);
            let enough = f64::from(shape.top_p) * total;
            let mut sum = 0.0;
            let kept = self.candidates.iter().position(|candidate| {
                sum += f64::from(candidate.weight);
                sum >= enough
            });
            self.candidates
                .truncate(kept.map_or(usize::MAX, |last| last + 1));
        }
        // In the order of ids a last-bit change of a logit moves a boundary by as little; in the
        // order of weights it could swap two tokens.
        self.candidates
            .sort_unstable_by_key(|candidate| candidate.token);
    }

    fn draw_candidate(&self, uniform: f64) -> usize {
        let total: f64 = self
            .candidates
            .iter()
            .map(|candidate| f64::from(candidate.weight))
            .sum();
        let target = uniform * total;
        let mut sum = 0.0;
        let drawn = self.candidates.iter().find(|candidate| {
            sum += f64::from(candidate.weight);
            sum > target
        });
        // The sum may stay a rounding error below the target, which is then the last token's.
        drawn
            .or(self.candidates.last())
            .map_or(0, |candidate| candidate.token as usize)
    }

    fn draw_any(&self, uniform: f64) -> usize {
        let target = uniform * self.block_sums.iter().sum::<f64>();
        let mut sum = 0.0;
        let mut block = 0;
        for (i, block_sum) in self.block_sums.iter().enumerate() {
            if *block_sum > 0.0 {
                block = i;
                if sum + block_sum > target {
                    break;
                }
                sum += block_sum;
            }
        }
        let mut token = block * BLOCK;
        for (i, weight) in self
            .weights
            .iter()
            .enumerate()
            .skip(block * BLOCK)
            .take(BLOCK)
        {
            if *weight > 0.0 {
                token = i;
                sum += f64::from(*weight);
                if sum > target {
                    break;
                }
            }
        }
        token
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
    block_sums: &'a mut [f64],
}

impl Kernel for Weigh<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let blocks = self
            .logits
            .chunks(BLOCK)
            .zip(self.weights.chunks_mut(BLOCK));
        for ((logits, weights), block_sum) in blocks.zip(self.block_sums) {
            for (weight, logit) in weights.iter_mut().zip(logits) {
                // A division, since the inverse of a tiny temperature is infinite.
                *weight = exp::<S>((*logit - self.highest) / self.temperature);
            }
            let mut sums = [0.0_f32; LANES];
            let (chunks, rest) = weights.as_chunks::<LANES>();
            for chunk in chunks {
                for lane in 0..LANES {
                    sums[lane] += chunk[lane];
                }
            }
            *block_sum = 0.0;
            for sum in sums.iter().chain(rest) {
                *block_sum += f64::from(*sum);
            }
        }
    }
}
