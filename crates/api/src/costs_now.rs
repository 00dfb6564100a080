//! The answer of `GET /v1/costs/now`: what tokens cost.

use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

use crate::usage::as_number;
use crate::{CostComparison, Latencies, Load, MachineCard, Moment};

/// The cost of tokens now and since the start. Seconds are device seconds. Dollars are absent if no
/// price is known.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CostsNow {
    /// `costs.now`.
    pub object: &'static str,
    /// The base model's name.
    pub model: String,
    /// Price of the machine.
    #[serde(serialize_with = "as_number", skip_serializing_if = "Option::is_none")]
    pub price_per_hour_usd: Option<Decimal>,
    /// Whether that is an example, because no price was configured.
    pub price_is_example: bool,
    /// Capacity in tokens per second within the SLO. Absent if not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub slo_tokens_per_second: Option<f64>,
    /// How steps are split now, as in an answer's cost.
    pub basis: &'static str,
    /// The last minutes.
    pub now: CostSpan,
    /// All time, including the warm-up.
    pub since_start: CostSpan,
    /// Relative errors of sums that must be equal.
    pub residuals: CostResiduals,
    /// The step model.
    pub step_model: StepModelCard,
    /// Totals by model and adapter since the start. `other` collects those after the first hundred
    /// names.
    pub models: Vec<ModelCosts>,
    /// Totals by tenant. Absent if the server has an admin key and the request does not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tenants: Option<Vec<TenantCosts>>,
    /// The tokens of the last minutes, or since the start if there were none, at vendors' prices.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub comparison: Option<CostComparison>,
    /// The last minutes in short periods, oldest first.
    pub recent: Vec<Moment>,
    /// Latencies of the last minutes.
    pub latency: Latencies,
    /// Sequences at this moment.
    pub load: Load,
    /// The machine.
    pub machine: MachineCard,
}

/// A period of time, and the cost of tokens in it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CostSpan {
    /// Its length.
    pub window_seconds: f64,
    /// The machine's cost in this time.
    #[serde(serialize_with = "as_number", skip_serializing_if = "Option::is_none")]
    pub window_usd: Option<Decimal>,
    /// How its steps were split; `tokens` if any of them was split by tokens.
    pub basis: &'static str,
    /// Seconds of steps that were split by tokens.
    pub seconds_by_tokens: f64,
    /// How the time was spent.
    pub seconds: CostBuckets,
    /// Fraction of the time in which steps ran.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub busy_share: Option<f64>,
    /// Fraction of the time without any request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub idle_share: Option<f64>,
    /// Ratio of `loaded` to `busy` cost.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub load_factor: Option<f64>,
    /// Used fraction of the capacity within the SLO.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub utilization: Option<f64>,
    /// Tokens by class.
    pub tokens: ByToken<u64>,
    /// Device seconds by class of token.
    pub token_seconds: ByToken<f64>,
    /// US dollars per million tokens by class.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub usd_per_million_tokens: Option<ByToken<ThreeFigures>>,
    /// US dollars per million tokens of all classes, in the present mix.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub usd_per_million_mixed_tokens: Option<ThreeFigures>,
}

/// Seconds by use. They do not overlap, except that the last two are part of `steps`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct CostBuckets {
    /// Time until the server accepted requests.
    pub warm_up: f64,
    /// Time to load adapters.
    pub adapter_load: f64,
    /// Time without any request.
    pub idle: f64,
    /// Time in which the device waited for the host.
    pub host: f64,
    /// Time of steps.
    pub steps: f64,
    /// The part of `steps` for callers who left.
    pub aborted: f64,
    /// The part of `steps` for sequences that failed.
    pub failed: f64,
}

/// One amount for each class of token.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ByToken<T> {
    /// Prompt tokens that were computed.
    pub input: T,
    /// Prompt tokens that were found in the prefix cache.
    pub cached: T,
    /// Generated tokens.
    pub output: T,
}

/// A cost at three levels of utilization. Absent if not known.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct ThreeFigures {
    /// The device time of the tokens themselves.
    #[serde(serialize_with = "as_number", skip_serializing_if = "Option::is_none")]
    pub busy: Option<Decimal>,
    /// All time of the window, divided among the tokens.
    #[serde(serialize_with = "as_number", skip_serializing_if = "Option::is_none")]
    pub loaded: Option<Decimal>,
    /// The cost at the machine's capacity within its SLO.
    #[serde(serialize_with = "as_number", skip_serializing_if = "Option::is_none")]
    pub at_capacity: Option<Decimal>,
}

/// Relative errors of sums that must be equal. Rounding leaves about 1e-15.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct CostResiduals {
    /// The sum of all sequences' shares against the time of all steps.
    pub rows: f64,
    /// The sum of all uses of time against the window.
    pub window: f64,
    /// The sum of prices times tokens against the sequences' shares.
    pub tokens: f64,
}

/// The model of the time of a step.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct StepModelCard {
    /// Seconds of every step.
    pub fixed_seconds: f64,
    /// Seconds per additional token: for the first 16, up to 256, and beyond.
    pub seconds_per_token: [f64; 3],
    /// Seconds per token whose logits are computed.
    pub seconds_per_logits: f64,
    /// Seconds per cached token read by a token of a prompt's chunk.
    pub seconds_per_prompt_key: f64,
    /// Seconds per cached token read by a decoded token.
    pub seconds_per_decode_key: f64,
    /// Seconds per byte of an adapter and token that uses it.
    pub seconds_per_adapter_byte: f64,
    /// Seconds per adapter in the step.
    pub seconds_per_adapter: f64,
    /// What it was fitted to: `calibration` (steps timed at start) or `served_steps`.
    pub fitted_to: &'static str,
    /// How often served steps have changed it since the start.
    pub refits: u64,
    /// Number of steps that it was judged by.
    pub fitted_steps: usize,
    /// Number of fitted coefficients.
    pub fitted_coefficients: usize,
    /// R²: the explained fraction of the variance of the seconds, or of their logarithms if that is
    /// less. For a calibration it is adjusted for the number of coefficients; otherwise it is
    /// computed from steps after the fit.
    pub r_squared: f64,
    /// 95 % of the steps deviate by at most this fraction.
    pub residual_p95: f64,
    /// Predicted seconds of all steps since the start, divided by the measured ones. Absent before
    /// the first step.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expected_over_measured: Option<f64>,
}

/// Totals of one model.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ModelCosts {
    /// The model or adapter.
    pub model: String,
    /// The totals of its answers.
    #[serde(flatten)]
    pub totals: CostTotals,
}

/// Totals of one tenant.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TenantCosts {
    /// The requests' `user`; null for requests without one.
    pub tenant: Option<String>,
    /// The totals of its answers.
    #[serde(flatten)]
    pub totals: CostTotals,
}

/// Totals of some answers.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct CostTotals {
    /// Completed choices.
    pub choices: u64,
    /// Their tokens.
    pub tokens: ByToken<u64>,
    /// Their device seconds.
    pub device_seconds: f64,
    /// Their cost.
    #[serde(serialize_with = "as_number", skip_serializing_if = "Option::is_none")]
    pub usd: Option<Decimal>,
    /// Their cost including a share of the other time since the start.
    #[serde(serialize_with = "as_number", skip_serializing_if = "Option::is_none")]
    pub loaded_usd: Option<Decimal>,
    /// Their cost at the machine's capacity within its SLO. Absent if that is not known.
    #[serde(serialize_with = "as_number", skip_serializing_if = "Option::is_none")]
    pub at_capacity_usd: Option<Decimal>,
}
