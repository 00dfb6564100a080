//! What a benchmark measured, as far as a comparison needs it.

use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

use crate::decimal_text::{exact, exact_or_null, read_exact, read_exact_or_null};
use crate::{Rates, TokenizerFamily};

/// Measured prices of tokens and the requests that they were measured on. A benchmark's report has
/// it under `measured_cost`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MeasuredCost {
    /// US dollars per million prompt tokens that were computed.
    #[serde(serialize_with = "exact", deserialize_with = "read_exact")]
    pub usd_per_million_input: Decimal,
    /// US dollars per million prompt tokens out of the cache; absent if there were none.
    #[serde(
        default,
        serialize_with = "exact_or_null",
        deserialize_with = "read_exact_or_null"
    )]
    pub usd_per_million_cached_input: Option<Decimal>,
    /// US dollars per million tokens of answers.
    #[serde(serialize_with = "exact", deserialize_with = "read_exact")]
    pub usd_per_million_output: Decimal,
    /// Prompt tokens of a request on average, cached ones included.
    #[serde(serialize_with = "exact", deserialize_with = "read_exact")]
    pub mean_prompt_tokens: Decimal,
    /// Of these, out of the cache.
    #[serde(serialize_with = "exact", deserialize_with = "read_exact")]
    pub mean_cached_tokens: Decimal,
    /// Tokens of an answer on average.
    #[serde(serialize_with = "exact", deserialize_with = "read_exact")]
    pub mean_output_tokens: Decimal,
    /// US dollars an hour that one GPU was reckoned with.
    #[serde(
        default,
        serialize_with = "exact_or_null",
        deserialize_with = "read_exact_or_null"
    )]
    pub usd_per_gpu_hour: Option<Decimal>,
    /// Tokens a day that one GPU carries inside the SLO, if that was searched for.
    #[serde(
        default,
        serialize_with = "exact_or_null",
        deserialize_with = "read_exact_or_null"
    )]
    pub slo_tokens_per_day: Option<Decimal>,
    /// What counted the tokens.
    #[serde(default)]
    pub tokenizer: Option<TokenizerFamily>,
}

/// Why a report has no measured cost.
#[derive(Debug, thiserror::Error)]
#[error("no benchmark's report with a `measured_cost`: {0}")]
pub struct MeasuredCostError(#[from] serde_json::Error);

impl MeasuredCost {
    /// Out of a benchmark's report in JSON.
    ///
    /// # Errors
    /// It is no such report.
    pub fn from_report(json: &str) -> Result<Self, MeasuredCostError> {
        #[derive(Deserialize)]
        struct Report {
            measured_cost: MeasuredCost,
        }
        Ok(serde_json::from_str::<Report>(json)?.measured_cost)
    }

    /// The prices, class by class.
    pub fn rates(&self) -> Rates {
        Rates {
            input: Some(self.usd_per_million_input),
            cached_input: self.usd_per_million_cached_input,
            output: Some(self.usd_per_million_output),
            ..Rates::default()
        }
    }
}
