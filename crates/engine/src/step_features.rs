//! The inputs of a step model.

use serde::{Deserialize, Serialize};

use crate::{RowWork, StepWork};

pub(crate) const FEATURES: usize = TOKEN_SEGMENTS + 6;

/// Where the curve of seconds over tokens may bend. Steps with few tokens are bound by reading the
/// weights, steps with many by arithmetic.
pub(crate) const TOKEN_KNOTS: [f64; 2] = [16.0, 256.0];
pub(crate) const TOKEN_SEGMENTS: usize = TOKEN_KNOTS.len() + 1;

/// Amounts of each kind of work in one step, in the order of the coefficients of a
/// [`StepModel`](crate::StepModel).
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct StepFeatures(pub(crate) [f64; FEATURES]);

impl StepFeatures {
    /// Amounts that no step exceeds.
    pub const UNLIMITED: Self = Self([f64::MAX; FEATURES]);

    /// The work of all rows together.
    pub fn of(rows: &[RowWork]) -> Self {
        Self::with_knots(rows, &TOKEN_KNOTS)
    }

    /// The same with only some of the knots of the token curve.
    pub(crate) fn with_knots(rows: &[RowWork], knots: &[f64]) -> Self {
        let mut total = StepWork::default();
        rows.iter().for_each(|row| total += row.total());
        let mut adapters: Vec<_> = rows.iter().filter_map(|row| row.adapter).collect();
        adapters.sort_unstable();
        adapters.dedup();
        let mut features = [0.0; FEATURES];
        features[..6].copy_from_slice(&[
            1.0,
            total.logits,
            total.prompt_keys,
            total.decode_keys,
            total.adapter_bytes,
            adapters.len() as f64,
        ]);
        features[6..].copy_from_slice(&token_segments(total.tokens, knots));
        Self(features)
    }

    /// Sum of each amount times its coefficient.
    pub(crate) fn dot(&self, coefficients: &[f64; FEATURES]) -> f64 {
        self.0.iter().zip(coefficients).map(|(x, c)| x * c).sum()
    }

    /// Whether all amounts are at most `factor` times those of `other`.
    pub(crate) fn is_within(&self, factor: f64, other: &Self) -> bool {
        let pairs = self.0.iter().zip(&other.0);
        pairs.into_iter().all(|(x, most)| *x <= factor * most)
    }

    /// The maximum of each amount.
    pub(crate) fn max(&self, other: &Self) -> Self {
        Self(std::array::from_fn(|kind| self.0[kind].max(other.0[kind])))
    }

    /// The class of a step. Steps of one class have tokens within a factor of 2, and attention
    /// reads within a factor of 16.
    pub(crate) fn class(&self) -> u64 {
        let [_, _, prompt_keys, decode_keys, _, adapters, segments @ ..] = self.0;
        let tokens: f64 = segments.iter().sum();
        // The exponent of a float is its logarithm to base 2, rounded down.
        let log2 = |amount: f64| ((amount + 1.0).to_bits() >> 52) & 0x7ff;
        [
            log2(tokens),
            log2(prompt_keys) / 4,
            log2(decode_keys) / 4,
            adapters.min(2.0) as u64,
        ]
        .into_iter()
        .fold(0, |class, part| class << 12 | part)
    }
}

/// How many of `tokens` lie in each segment between the knots. The last segment has no end.
pub(crate) fn token_segments(tokens: f64, knots: &[f64]) -> [f64; TOKEN_SEGMENTS] {
    let knot = |i: usize| knots.get(i).copied().unwrap_or(f64::INFINITY);
    std::array::from_fn(|i| {
        let from = i.checked_sub(1).map_or(0.0, knot);
        let to = knot(i);
        (tokens.min(to) - from).max(0.0)
    })
}
