//! `GET /v1/costs/now`: what tokens cost, for a page to show.

use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

use crate::usage::as_number;
use crate::{CostComparison, Latencies, Load, MachineCard, Moment};

/// What tokens cost now and since the start. Seconds are device seconds; dollars are absent where no
/// price is known.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CostsNow {
    /// `costs.now`.
    pub object: &'static str,
    /// The base model's name.
    pub model: String,
    /// What the machine costs.
    #[serde(serialize_with = "as_number", skip_serializing_if = "Option::is_none")]
    pub price_per_hour_usd: Option<Decimal>,
    /// Whether that is an example, since nobody said what it costs.
    pub price_is_example: bool,
    /// Tokens a second that the machine carries within its service level; absent where that is not
    /// known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub slo_tokens_per_second: Option<f64>,
    /// How a step's seconds are split at this moment, as in an answer's cost.
    pub basis: &'static str,
    /// The last minutes.
    pub now: CostSpan,
    /// All of it, warm-up included.
    pub since_start: CostSpan,
    /// By how much sums that have to be equal differ.
    pub residuals: CostResiduals,
    /// How long steps take.
    pub step_model: StepModelCard,
    /// What the answers of each model and adapter took, since the start; `other` are those that came
    /// after the first hundred names.
    pub models: Vec<ModelCosts>,
    /// The same by tenant. Absent where the server has an admin key and the request has not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tenants: Option<Vec<TenantCosts>>,
    /// The tokens of the last minutes, or since the start where there were none, at vendors' prices.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub comparison: Option<CostComparison>,
    /// The last minutes piece by piece, oldest first.
    pub recent: Vec<Moment>,
    /// How long answers of the last minutes took.
    pub latency: Latencies,
    /// Sequences of this moment.
    pub load: Load,
    /// What all this runs on.
    pub machine: MachineCard,
}

/// Some time, and what tokens cost in it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CostSpan {
    /// How long it is.
    pub window_seconds: f64,
    /// What the machine costs in so long.
    #[serde(serialize_with = "as_number", skip_serializing_if = "Option::is_none")]
    pub window_usd: Option<Decimal>,
    /// How its steps' seconds were split; where some were split by tokens, that.
    pub basis: &'static str,
    /// Of the steps' seconds, those that were split by tokens.
    pub seconds_by_tokens: f64,
    /// Where the time went.
    pub seconds: CostBuckets,
    /// The share of it in which steps ran.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub busy_share: Option<f64>,
    /// The share of it in which nobody asked for anything.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub idle_share: Option<f64>,
    /// How much dearer `loaded` is than `busy`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub load_factor: Option<f64>,
    /// Of what the machine carries within its service level, the share that was asked of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub utilization: Option<f64>,
    /// Tokens by kind.
    pub tokens: ByToken<u64>,
    /// Device seconds by kind of token.
    pub token_seconds: ByToken<f64>,
    /// US dollars per million tokens, by kind.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub usd_per_million_tokens: Option<ByToken<ThreeFigures>>,
    /// US dollars per million tokens of all kinds, as they were mixed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub usd_per_million_mixed_tokens: Option<ThreeFigures>,
}

/// Seconds by what they went to: all but the last two, which are part of `steps`, do not overlap.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct CostBuckets {
    /// Until the door opened.
    pub warm_up: f64,
    /// Adapters were loaded.
    pub adapter_load: f64,
    /// Nobody asked for anything.
    pub idle: f64,
    /// The device waited for the host.
    pub host: f64,
    /// Steps ran.
    pub steps: f64,
    /// For callers who left.
    pub aborted: f64,
    /// For sequences that failed.
    pub failed: f64,
}

/// One amount for each class of token.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ByToken<T> {
    /// The prompt's tokens that were computed.
    pub input: T,
    /// The prompt's tokens that were found in the prefix cache.
    pub cached: T,
    /// Generated tokens.
    pub output: T,
}

/// A price by how much of the machine's time it bears; absent where it is not known.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct ThreeFigures {
    /// The time of the tokens themselves.
    #[serde(serialize_with = "as_number", skip_serializing_if = "Option::is_none")]
    pub busy: Option<Decimal>,
    /// All time of the window.
    #[serde(serialize_with = "as_number", skip_serializing_if = "Option::is_none")]
    pub loaded: Option<Decimal>,
    /// As if the machine carried all that it can within its service level.
    #[serde(serialize_with = "as_number", skip_serializing_if = "Option::is_none")]
    pub at_capacity: Option<Decimal>,
}

/// Shares by which sums that have to be equal differ; rounding leaves some 1e-15.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct CostResiduals {
    /// What all sequences were charged, and what all steps took.
    pub rows: f64,
    /// All buckets together, and the window.
    pub window: f64,
    /// Prices times tokens, and what the sequences were charged.
    pub tokens: f64,
}

/// How long a step takes, by what is in it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct StepModelCard {
    /// Any step.
    pub fixed_seconds: f64,
    /// Each more token of a step: of the first 16, up to 256, and beyond.
    pub seconds_per_token: [f64; 3],
    /// Each token's logits.
    pub seconds_per_logits: f64,
    /// Each cached token read by each token of a prompt's chunk.
    pub seconds_per_prompt_key: f64,
    /// Each cached token read by a decoded token.
    pub seconds_per_decode_key: f64,
    /// Each byte of an adapter, for each of its tokens.
    pub seconds_per_adapter_byte: f64,
    /// Each adapter of a step.
    pub seconds_per_adapter: f64,
    /// What it was fitted to: `calibration`, the steps that are timed at start, or `served_steps`.
    pub fitted_to: &'static str,
    /// How often served steps have changed it since the start.
    pub refits: u64,
    /// Steps that it was judged by.
    pub fitted_steps: usize,
    /// Coefficients that were fitted.
    pub fitted_coefficients: usize,
    /// The share of the variance of their seconds, or of the logarithms of these where that is less,
    /// that it explains: adjusted for the coefficients where they are the calibration's own, else told
    /// by steps that came after the fit.
    pub r_squared: f64,
    /// 95 % of them are off by at most this share.
    pub residual_p95: f64,
    /// What it expected of all steps since the start, over what they took; absent before the first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expected_over_measured: Option<f64>,
}

/// What the answers of a model took.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ModelCosts {
    /// The model or adapter.
    pub model: String,
    /// What its answers took.
    #[serde(flatten)]
    pub totals: CostTotals,
}

/// What the answers to a tenant took.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TenantCosts {
    /// Whom the requests named as their user; null for those that named nobody.
    pub tenant: Option<String>,
    /// What the answers took.
    #[serde(flatten)]
    pub totals: CostTotals,
}

/// What some answers took.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct CostTotals {
    /// Choices that ran to their end.
    pub choices: u64,
    /// Their tokens.
    pub tokens: ByToken<u64>,
    /// Their device seconds.
    pub device_seconds: f64,
    /// What these cost.
    #[serde(serialize_with = "as_number", skip_serializing_if = "Option::is_none")]
    pub usd: Option<Decimal>,
    /// What they cost with the rest of the time since the start shared out.
    #[serde(serialize_with = "as_number", skip_serializing_if = "Option::is_none")]
    pub loaded_usd: Option<Decimal>,
    /// What they cost as if the machine carried all that it can within its service level; absent where that
    /// is not known.
    #[serde(serialize_with = "as_number", skip_serializing_if = "Option::is_none")]
    pub at_capacity_usd: Option<Decimal>,
}
