//! How long a step takes, by what is in it.

use std::collections::HashMap;

use farthing_scheduler::AdapterId;
use serde::{Deserialize, Serialize};

use crate::{RowWork, StepWork, TokenSeconds};

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
    /// How well it fits what it was fitted to.
    pub fit: Fit,
}

/// How well a model fits the steps that it was fitted to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Fit {
    /// Steps that were timed, repetitions aside.
    pub steps: usize,
    /// Coefficients that were fitted to them.
    pub coefficients: usize,
    /// The share of the variance of their seconds that the model explains, adjusted for the
    /// coefficients (`1 − (1 − R²)(n − 1)/(n − p)`): zero where there are as many of them as steps,
    /// since then any times are explained.
    pub r_squared: f64,
    /// 95 % of the steps are off by at most this share of their seconds.
    pub residual_p95: f64,
}

impl Fit {
    /// Whether the model explains enough to charge by it.
    pub fn is_good(&self) -> bool {
        self.r_squared >= 0.9
    }
}

impl StepModel {
    /// Seconds that the step with these rows is expected to take.
    pub fn expect(&self, rows: &[RowWork]) -> f64 {
        self.apportion(rows).iter().map(TokenSeconds::total).sum()
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
