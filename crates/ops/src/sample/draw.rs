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
    /// The highest weight in each of a block's [`LANES`] lanes.
    lane_maxima: Vec<f32>,
    /// `lane_maxima` in another order.
    ranked: Vec<f32>,
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
        let blocks = logits.len().div_ceil(BLOCK);
        self.weights.resize(logits.len(), 0.0);
        self.block_sums.resize(blocks, 0.0);
        self.lane_maxima.resize(blocks * LANES, 0.0);
        let weigh = Weigh {
            logits,
            highest,
            temperature: shape.temperature,
            weights: &mut self.weights,
            block_sums: &mut self.block_sums,
            lane_maxima: &mut self.lane_maxima,
        };
        dispatch(level, weigh);
        let uniform = uniform(seed, position);
        let top_k = Some(shape.top_k).filter(|k| (1..logits.len()).contains(k));
        if shape.min_p > 0.0 || top_k.is_some() || shape.top_p < 1.0 {
            self.filter(shape.min_p.min(1.0), top_k, shape.top_p);
            self.draw_candidate(uniform)
        } else {
            self.draw_any(uniform)
        }
    }

    /// Leaves the tokens that the filters keep, in the order of their ids.
    fn filter(&mut self, min_p: f32, top_k: Option<usize>, top_p: f32) {
        let total = if let Some(top_k) = top_k {
            let least = self.weight_of_rank(top_k);
            self.collect(least.max(min_p));
            if top_k < self.candidates.len() {
                self.candidates
                    .select_nth_unstable_by(top_k - 1, Candidate::likelier);
                self.candidates.truncate(top_k);
            }
            self.candidate_sum()
        } else if min_p > 0.0 {
            self.collect(min_p);
            self.candidate_sum()
        } else {
            let total = self.block_sums.iter().sum();
            self.collect_share(f64::from(top_p) * total);
            total
        };
        if top_p < 1.0 {
            self.candidates.sort_unstable_by(Candidate::likelier);
            let enough = f64::from(top_p) * total;
            let mut sum = 0.0;
            let last = self.candidates.iter().position(|candidate| {
                sum += f64::from(candidate.weight);
                sum >= enough
            });
            self.candidates
                .truncate(last.map_or(usize::MAX, |last| last + 1));
        }
        // In the order of ids a last-bit change of a logit moves a boundary by as little; in the
        // order of weights it could swap two tokens.
        self.candidates
            .sort_unstable_by_key(|candidate| candidate.token);
    }

    /// Collects the likeliest tokens, as many as weigh `enough` together and some more, so that
    /// most of a vocabulary need not be sorted.
    fn collect_share(&mut self, enough: f64) {
        let mut count = 64;
        while count < self.lane_maxima.len() {
            let least = self.weight_of_rank(count);
            self.collect(least);
            if self.candidate_sum() >= enough {
                return;
            }
            count *= 4;
        }
        self.collect(0.0);
    }

    fn candidate_sum(&self) -> f64 {
        self.candidates
            .iter()
            .map(|candidate| f64::from(candidate.weight))
            .sum()
    }

    /// A weight that the `rank` likeliest tokens reach, since as many maxima of lanes do and each
    /// is another token's.
    fn weight_of_rank(&mut self, rank: usize) -> f32 {
        if rank > self.lane_maxima.len() {
            return 0.0;
        }
        self.ranked.clone_from(&self.lane_maxima);
        let descending = |a: &f32, b: &f32| b.total_cmp(a);
        *self.ranked.select_nth_unstable_by(rank - 1, descending).1
    }

    /// Collects all tokens of at least this weight, but those of no weight.
    fn collect(&mut self, least: f32) {
        let least = least.max(f32::MIN_POSITIVE);
        self.candidates.clear();
        let blocks = self
            .weights
            .chunks(BLOCK)
            .zip(self.lane_maxima.as_chunks::<LANES>().0);
        for (block, (weights, maxima)) in blocks.enumerate() {
            if maxima.iter().all(|highest| *highest < least) {
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
    }

    fn draw_candidate(&self, uniform: f64) -> usize {
        let target = uniform * self.candidate_sum();
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
        let weights = self
            .weights
            .iter()
            .enumerate()
            .skip(block * BLOCK)
            .take(BLOCK);
        for (i, weight) in weights {
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
        let results = self
            .block_sums
            .iter_mut()
            .zip(self.lane_maxima.as_chunks_mut::<LANES>().0);
        for ((logits, weights), (block_sum, maxima)) in blocks.zip(results) {
            for (weight, logit) in weights.iter_mut().zip(logits) {
                // A division, since the inverse of a tiny temperature is infinite.
                *weight = exp::<S>((*logit - self.highest) / self.temperature);
            }
            let mut sums = [0.0_f32; LANES];
            let mut highest = [0.0_f32; LANES];
            let (chunks, rest) = weights.as_chunks::<LANES>();
            for chunk in chunks {
                for lane in 0..LANES {
                    sums[lane] += chunk[lane];
                }
            }
            // A loop of its own: with both in one the compiler gives up on vectors.
            for chunk in chunks {
                for lane in 0..LANES {
                    highest[lane] = highest[lane].max(chunk[lane]);
                }
            }
            for (lane, weight) in rest.iter().enumerate() {
                sums[lane] += weight;
                highest[lane] = highest[lane].max(*weight);
            }
            *maxima = highest;
            *block_sum = sums.iter().map(|sum| f64::from(*sum)).sum();
        }
    }
}
