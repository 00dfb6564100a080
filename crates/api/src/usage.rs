//! What an answer took, and what it cost.

use rust_decimal::Decimal;
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

/// Tokens and cost of one answer, over all its choices.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Usage {
    /// Tokens of the prompts, each counted once however many choices go on from it.
    pub prompt_tokens: usize,
    /// Tokens generated for all choices.
    pub completion_tokens: usize,
    /// Both.
    pub total_tokens: usize,
    /// What is known of the prompt's tokens.
    pub prompt_tokens_details: PromptTokensDetails,
    /// What it cost.
    pub cost: Cost,
}

/// Of the prompt's tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct PromptTokensDetails {
    /// How many were found in the prefix cache.
    pub cached_tokens: usize,
}

/// The measured cost of an answer. The dollars are absent where no price is known.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Cost {
    /// The answer's share of the device's time, over all its choices.
    pub device_seconds: f64,
    /// `device_seconds` at `price_per_hour_usd`.
    #[serde(serialize_with = "as_number", skip_serializing_if = "Option::is_none")]
    pub usd: Option<Decimal>,
    /// The same with the time of the last minutes in which nothing was computed shared out.
    #[serde(serialize_with = "as_number", skip_serializing_if = "Option::is_none")]
    pub loaded_usd: Option<Decimal>,
    /// The same as if the machine carried all that it can within its service level; absent where that
    /// is not known.
    #[serde(serialize_with = "as_number", skip_serializing_if = "Option::is_none")]
    pub at_capacity_usd: Option<Decimal>,
    /// What the machine costs.
    #[serde(serialize_with = "as_number", skip_serializing_if = "Option::is_none")]
    pub price_per_hour_usd: Option<Decimal>,
    /// How the seconds were told.
    pub basis: &'static str,
}

/// Tokens of an answer on its way, over all its choices.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct TokensSoFar {
    /// Tokens of the prompts.
    pub prompt_tokens: usize,
    /// Tokens generated so far.
    pub completion_tokens: usize,
    /// Both.
    pub total_tokens: usize,
}

/// The `usage` field of a chunk of a stream.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum StreamedUsage {
    /// The caller did not ask for usage: the field is absent.
    NotAsked,
    /// `null`, in every chunk but the last.
    Later,
    /// The tokens up to this chunk.
    SoFar(TokensSoFar),
    /// The usage of the whole answer.
    Complete(Usage),
}

impl StreamedUsage {
    pub(crate) fn is_absent(&self) -> bool {
        matches!(self, Self::NotAsked)
    }
}

/// Writes a decimal as a JSON number with all its digits: a float would round money.
pub(crate) fn as_number<S: Serializer>(
    decimal: &Option<Decimal>,
    to: S,
) -> Result<S::Ok, S::Error> {
    let digits = decimal.map(|decimal| RawValue::from_string(decimal.normalize().to_string()));
    digits
        .transpose()
        .map_err(serde::ser::Error::custom)?
        .serialize(to)
}
