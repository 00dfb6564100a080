//! The result of a benchmark, as far as a comparison needs it.

use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

use crate::decimal_text::{exact, exact_or_null, read_exact, read_exact_or_null};
use crate::{Rates, TokenizerFamily};

/// Measured prices of tokens, and the requests that they were measured on: the field
/// `measured_cost` of a benchmark's report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MeasuredCost {
    /// US dollars per million computed prompt tokens.
    #[serde(serialize_with = "exact", deserialize_with = "read_exact")]
    pub usd_per_million_input: Decimal,
    /// US dollars per million cached prompt tokens; absent if there were none.
    #[serde(
        default,
        serialize_with = "exact_or_null",
        deserialize_with = "read_exact_or_null"
    )]
    pub usd_per_million_cached_input: Option<Decimal>,
    /// US dollars per million answer tokens.
    #[serde(serialize_with = "exact", deserialize_with = "read_exact")]
    pub usd_per_million_output: Decimal,
    /// Average prompt tokens of a request, cached ones included.
    #[serde(serialize_with = "exact", deserialize_with = "read_exact")]
    pub mean_prompt_tokens: Decimal,
    /// Of these, cached tokens.
    #[serde(serialize_with = "exact", deserialize_with = "read_exact")]
    pub mean_cached_tokens: Decimal,
    /// Average tokens of an answer.
    #[serde(serialize_with = "exact", deserialize_with = "read_exact")]
    pub mean_output_tokens: Decimal,
    /// The price of a GPU-hour in US dollars.
    #[serde(
        default,
        serialize_with = "exact_or_null",
        deserialize_with = "read_exact_or_null"
    )]
    pub usd_per_gpu_hour: Option<Decimal>,
    /// Tokens per day that one GPU carries inside the SLO, if that was measured.
    #[serde(
        default,
        serialize_with = "exact_or_null",
        deserialize_with = "read_exact_or_null"
    )]
    pub slo_tokens_per_day: Option<Decimal>,
    /// The tokenizer that counted the tokens.
    #[serde(default)]
    pub tokenizer: Option<TokenizerFamily>,
}

/// Why a report has no measured cost.
#[derive(Debug, thiserror::Error)]
#[error("invalid benchmark report: expected a field `measured_cost` ({0})")]
pub struct MeasuredCostError(#[from] serde_json::Error);

impl MeasuredCost {
    /// Reads it from a benchmark's report in JSON.
    ///
    /// # Errors
    /// The text is not such a report.
    pub fn from_report(json: &str) -> Result<Self, MeasuredCostError> {
        #[derive(Deserialize)]
        struct Report {
            measured_cost: MeasuredCost,
        }
        Ok(serde_json::from_str::<Report>(json)?.measured_cost)
    }

    /// The prices by token class.
    pub fn rates(&self) -> Rates {
        Rates {
            input: Some(self.usd_per_million_input),
            cached_input: self.usd_per_million_cached_input,
            output: Some(self.usd_per_million_output),
            ..Rates::default()
        }
    }
}
