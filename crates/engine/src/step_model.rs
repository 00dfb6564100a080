//! A model of how long a step takes.

use std::collections::HashMap;

use farthing_scheduler::AdapterId;
use serde::{Deserialize, Serialize};

use crate::{
    RowWork, SplitBasis, StepFeatures, StepWork, TokenSeconds,
    step_features::{FEATURES, TOKEN_KNOTS, TOKEN_SEGMENTS, token_segments},
};

/// Predicts the seconds of a step as a sum over its work. All coefficients are non-negative.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct StepModel {
    /// Seconds of every step.
    pub fixed_seconds: f64,
    /// Seconds per additional token: for the first 16 tokens, up to 256, and beyond.
    pub seconds_per_token: [f64; TOKEN_SEGMENTS],
    /// Seconds per token whose logits are computed.
    pub seconds_per_logits: f64,
    /// Seconds per key read by a token, in rows with several new tokens.
    pub seconds_per_prompt_key: f64,
    /// Seconds per key read by a token, in rows with one new token.
    pub seconds_per_decode_key: f64,
    /// Seconds per byte of an adapter and token that uses it.
    pub seconds_per_adapter_byte: f64,
    /// Seconds per adapter in the step.
    pub seconds_per_adapter: f64,
    /// How well the model explains steps.
    pub fit: Fit,
}

/// How well a model explains the time of steps, and of which steps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Fit {
    /// What the model was fitted to.
    pub source: FitSource,
    /// Number of steps that it was judged by. Repetitions of a step, and groups of similar steps,
    /// count once.
    pub steps: usize,
    /// Number of fitted coefficients.
    pub coefficients: usize,
    /// R²: the explained fraction of the variance of the seconds, or of their logarithms if that is
    /// less, so that long steps alone cannot make a good fit.
    ///
    /// For a calibration it is adjusted for the number of coefficients (`1 − (1 − R²)(n − 1)/(n −
    /// p)`), and zero if there are as many coefficients as steps. For served steps it is computed
    /// from the medians of groups of similar steps that came after the fit.
    pub r_squared: f64,
    /// 95 % of the steps deviate by at most this fraction of their seconds.
    pub residual_p95: f64,
    /// The largest amount of each kind of work that the model was fitted to; zero if no step had
    /// any.
    pub reach: StepFeatures,
}

/// The steps that a model was fitted to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum FitSource {
    /// Steps that are timed at start.
    #[default]
    Calibration,
    /// Steps that were served.
    ServedSteps,
}

/// From this R² on, the model is used to split costs.
const LEAST_R_SQUARED: f64 = 0.9;
/// Steps with more than this many times the work of the fitted steps are not split by the model.
const BEYOND_REACH: f64 = 4.0;

impl Fit {
    /// Whether the model is good enough to split costs.
    pub fn is_good(&self) -> bool {
        self.r_squared >= LEAST_R_SQUARED
    }

    /// How steps within the model's reach are split.
    pub fn basis(&self) -> SplitBasis {
        if self.is_good() {
            SplitBasis::StepModel
        } else {
            SplitBasis::Tokens
        }
    }

    /// The fit of a model to the steps that it was fitted to. `coefficients` includes the fixed
    /// part.
    pub(crate) fn of_calibration(measured: &[f64], expected: &[f64], coefficients: usize) -> Self {
        // Each coefficient can explain one step exactly, so the others decide.
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

    /// The fit of a model to groups of served steps that it was not fitted to.
    pub(crate) fn of_served(measured: &[f64], expected: &[f64]) -> Self {
        Self {
            steps: measured.len(),
            r_squared: r_squared(measured, expected),
            residual_p95: residual_p95(measured, expected),
            ..Self::default()
        }
    }
}

/// The explained fraction of the variance of the seconds or of their logarithms, whichever is less;
/// zero if there is no variance.
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
    /// Predicted seconds of the step with these rows.
    pub fn expect(&self, rows: &[RowWork]) -> f64 {
        self.apportion(rows).iter().map(TokenSeconds::total).sum()
    }

    /// The same for the total work of all rows.
    pub(crate) fn expect_features(&self, features: &StepFeatures) -> f64 {
        features.dot(&self.coefficients())
    }

    /// The number of tokens that take as long as the fixed part of a step, if the model is good.
    pub(crate) fn fixed_tokens(&self) -> Option<usize> {
        if !self.fit.is_good() {
            return None;
        }
        let (mut left_seconds, mut tokens) = (self.fixed_seconds, 0.0);
        let knots = TOKEN_KNOTS.into_iter().chain([f64::INFINITY]);
        for (knot, slope) in knots.zip(self.seconds_per_token) {
            let here = left_seconds / (slope + self.seconds_per_logits);
            if tokens + here <= knot {
                tokens += here;
                break;
            }
            left_seconds -= (knot - tokens) * (slope + self.seconds_per_logits);
            tokens = knot;
        }
        Some(tokens as usize)
    }

    /// Whether the model may split a step with this work: it is good, and was fitted to similar
    /// steps.
    pub(crate) fn is_good_for(&self, features: &StepFeatures) -> bool {
        self.fit.is_good() && features.is_within(BEYOND_REACH, &self.fit.reach)
    }

    /// The model for a machine that takes `factor` times as long.
    pub(crate) fn scaled(&self, factor: f64) -> Self {
        Self {
            fit: self.fit,
            ..Self::from_coefficients(self.coefficients().map(|seconds| seconds * factor))
        }
    }

    /// The coefficients in the order of [`StepFeatures`].
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

    /// A model without a fit.
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

    /// The predicted seconds of each row. Costs of the step as a whole are shared: the fixed part
    /// and the token curve by tokens, the cost of an adapter by the tokens that use it.
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

    /// Seconds of the fixed part and the token curve for a number of tokens.
    fn token_curve(&self, tokens: f64) -> f64 {
        let segments = token_segments(tokens, &TOKEN_KNOTS);
        let slopes = segments.iter().zip(self.seconds_per_token);
        self.fixed_seconds + slopes.map(|(tokens, slope)| tokens * slope).sum::<f64>()
    }
}

#[cfg(test)]
mod tests;
