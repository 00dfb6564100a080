//! How long a step takes, by what is in it.

use std::collections::HashMap;

use farthing_scheduler::AdapterId;
use serde::{Deserialize, Serialize};

use crate::{RowWork, SplitBasis, StepFeatures, StepWork, TokenSeconds, step_features::FEATURES};

/// Where the curve of the seconds by a step's tokens may bend: few tokens wait for the weights to be
/// read from memory, many for the arithmetic.
pub(crate) const TOKEN_KNOTS: [f64; 2] = [16.0, 256.0];
pub(crate) const TOKEN_SEGMENTS: usize = TOKEN_KNOTS.len() + 1;

/// Seconds of a step as a sum over its work; every coefficient is zero or more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct StepModel {
    /// Seconds of any step, whatever is in it.
    pub fixed_seconds: f64,
    /// Seconds for each more token of a step: for the first 16, for those up to 256, and beyond.
    pub seconds_per_token: [f64; TOKEN_SEGMENTS],
    /// Seconds for each token's logits.
    pub seconds_per_logits: f64,
    /// Seconds for each cached token read by each new token, in rows with several new tokens.
    pub seconds_per_prompt_key: f64,
    /// The same in rows with one new token.
    pub seconds_per_decode_key: f64,
    /// Seconds for each byte of an adapter, for each token that it applies to.
    pub seconds_per_adapter_byte: f64,
    /// Seconds for each adapter of a step.
    pub seconds_per_adapter: f64,
    /// How well it explains steps, and which.
    pub fit: Fit,
}

/// How well a model explains how long steps take, and which.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Fit {
    /// What the model was fitted to.
    pub source: FitSource,
    /// Steps by which it was judged: repetitions, and groups of like steps, count once.
    pub steps: usize,
    /// Coefficients that were fitted.
    pub coefficients: usize,
    /// The share of the variance of their seconds that the model explains, or of the logarithms of
    /// these where that is less: long steps alone cannot carry it.
    ///
    /// Of a calibration it is adjusted for the coefficients (`1 − (1 − R²)(n − 1)/(n − p)`), and zero
    /// where there are as many of them as steps, since then any times are explained. Of served
    /// steps it is told by the medians of groups of like steps that came after those of the fit.
    pub r_squared: f64,
    /// 95 % of the steps are off by at most this share of their seconds.
    pub residual_p95: f64,
    /// The most of each kind of work that it is known for; zero where no step had any.
    pub reach: StepFeatures,
}

/// Steps that a model is fitted to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum FitSource {
    /// Those that are timed at start.
    #[default]
    Calibration,
    /// Those that were served since.
    ServedSteps,
}

/// A model explains enough to charge by from here on.
const LEAST_R_SQUARED: f64 = 0.9;
/// What lies further beyond the known steps than by this factor is not charged by it.
const BEYOND_REACH: f64 = 4.0;

impl Fit {
    /// Whether the model explains enough to charge by it.
    pub fn is_good(&self) -> bool {
        self.r_squared >= LEAST_R_SQUARED
    }

    /// What steps of the kinds within its reach are split by.
    pub fn basis(&self) -> SplitBasis {
        if self.is_good() {
            SplitBasis::StepModel
        } else {
            SplitBasis::Tokens
        }
    }

    /// Of a model with so many coefficients, the fixed part among them, for the steps that it was
    /// fitted to.
    pub(crate) fn of_calibration(measured: &[f64], expected: &[f64], coefficients: usize) -> Self {
        // Each coefficient can take one step exactly: what is explained is judged by the others.
        let (n, free) = (measured.len(), measured.len().saturating_sub(coefficients));
        let r_squared = match free {
            0 => 0.0,
            _ => 1.0 - (1.0 - r_squared(measured, expected)) * (n - 1) as f64 / free as f64,
        };
        Self {
            source: FitSource::Calibration,
            steps: n,
            coefficients,
            r_squared,
            residual_p95: residual_p95(measured, expected),
            reach: StepFeatures::UNLIMITED,
        }
    }

    /// Of a model for groups of served steps that it was not fitted to.
    pub(crate) fn of_served(measured: &[f64], expected: &[f64]) -> Self {
        Self {
            steps: measured.len(),
            r_squared: r_squared(measured, expected),
            residual_p95: residual_p95(measured, expected),
            ..Self::default()
        }
    }
}

/// The share of the variance that is explained, of the seconds or of their logarithms, whichever is
/// less; zero where there is no variance.
fn r_squared(measured: &[f64], expected: &[f64]) -> f64 {
    let explained = |scale: fn(f64) -> f64| {
        let mean = measured.iter().map(|m| scale(*m)).sum::<f64>() / measured.len().max(1) as f64;
        let square = |x: f64| x * x;
        let variance: f64 = measured.iter().map(|m| square(scale(*m) - mean)).sum();
        let pairs = measured.iter().zip(expected);
        let unexplained: f64 = pairs.map(|(m, e)| square(scale(*m) - scale(*e))).sum();
        if variance > 0.0 {
            1.0 - unexplained / variance
        } else {
            0.0
        }
    };
    explained(|seconds| seconds).min(explained(|seconds| seconds.max(f64::MIN_POSITIVE).ln()))
}

fn residual_p95(measured: &[f64], expected: &[f64]) -> f64 {
    let pairs = measured.iter().zip(expected);
    let mut residuals: Vec<f64> = pairs.map(|(m, e)| (m - e).abs() / m).collect();
    residuals.sort_unstable_by(f64::total_cmp);
    let p95 = (residuals.len() as f64 * 0.95).ceil() as usize;
    p95.checked_sub(1).map_or(0.0, |i| residuals[i])
}

impl StepModel {
    /// Seconds that the step with these rows is expected to take.
    pub fn expect(&self, rows: &[RowWork]) -> f64 {
        self.apportion(rows).iter().map(TokenSeconds::total).sum()
    }

    /// The same for the work of all rows together.
    pub(crate) fn expect_features(&self, features: &StepFeatures) -> f64 {
        features.dot(&self.coefficients())
    }

    /// Whether a step with this work may be charged by the model: it explains enough, and of steps
    /// like this.
    pub(crate) fn is_good_for(&self, features: &StepFeatures) -> bool {
        self.fit.is_good() && features.is_within(BEYOND_REACH, &self.fit.reach)
    }

    /// For a machine that takes so many times as long.
    pub(crate) fn scaled(&self, factor: f64) -> Self {
        Self {
            fit: self.fit,
            ..Self::from_coefficients(self.coefficients().map(|seconds| seconds * factor))
        }
    }

    /// What [`StepFeatures`] are multiplied with.
    pub(crate) fn coefficients(&self) -> [f64; FEATURES] {
        let [to_16, to_256, beyond] = self.seconds_per_token;
        [
            self.fixed_seconds,
            self.seconds_per_logits,
            self.seconds_per_prompt_key,
            self.seconds_per_decode_key,
            self.seconds_per_adapter_byte,
            self.seconds_per_adapter,
            to_16,
            to_256,
            beyond,
        ]
    }

    /// A model that nobody has judged yet.
    pub(crate) fn from_coefficients(coefficients: [f64; FEATURES]) -> Self {
        let [
            fixed,
            logits,
            prompt_key,
            decode_key,
            adapter_byte,
            adapter,
            per_token @ ..,
        ] = coefficients;
        Self {
            fixed_seconds: fixed,
            seconds_per_token: per_token,
            seconds_per_logits: logits,
            seconds_per_prompt_key: prompt_key,
            seconds_per_decode_key: decode_key,
            seconds_per_adapter_byte: adapter_byte,
            seconds_per_adapter: adapter,
            fit: Fit::default(),
        }
    }

    /// What each row contributes to the expected seconds. What depends on the step as a whole is
    /// shared: the fixed part and the curve by the tokens, an adapter's own seconds by the tokens
    /// that use it.
    pub(crate) fn apportion(&self, rows: &[RowWork]) -> Vec<TokenSeconds> {
        let totals: Vec<StepWork> = rows.iter().map(RowWork::total).collect();
        let step_tokens: f64 = totals.iter().map(|work| work.tokens).sum();
        let per_token = self.token_curve(step_tokens) / step_tokens.max(1.0);
        let mut adapter_tokens: HashMap<AdapterId, f64> = HashMap::new();
        for (row, work) in rows.iter().zip(&totals) {
            if let Some(adapter) = row.adapter {
                *adapter_tokens.entry(adapter).or_default() += work.tokens;
            }
        }
        let part = |row: &RowWork, work: &StepWork| {
            let per_token = per_token
                + row.adapter.map_or(0.0, |adapter| {
                    self.seconds_per_adapter / adapter_tokens[&adapter]
                });
            work.tokens * per_token
                + work.logits * self.seconds_per_logits
                + work.prompt_keys * self.seconds_per_prompt_key
                + work.decode_keys * self.seconds_per_decode_key
                + work.adapter_bytes * self.seconds_per_adapter_byte
        };
        rows.iter()
            .map(|row| TokenSeconds {
                input: part(row, &row.input),
                cached: part(row, &row.cached),
                output: part(row, &row.output),
            })
            .collect()
    }

    /// Seconds of a step with so many tokens, without what else it does for them.
    fn token_curve(&self, tokens: f64) -> f64 {
        let segments = token_segments(tokens, &TOKEN_KNOTS);
        let slopes = segments.iter().zip(self.seconds_per_token);
        self.fixed_seconds + slopes.map(|(tokens, slope)| tokens * slope).sum::<f64>()
    }
}

/// How many of `tokens` lie on each segment between the knots; the last has no end.
pub(crate) fn token_segments(tokens: f64, knots: &[f64]) -> [f64; TOKEN_SEGMENTS] {
    let knot = |i: usize| knots.get(i).copied().unwrap_or(f64::INFINITY);
    std::array::from_fn(|i| {
        let from = i.checked_sub(1).map_or(0.0, knot);
        let to = knot(i);
        (tokens.min(to) - from).max(0.0)
    })
}

#[cfg(test)]
mod tests;
