//! Tokens and cost of an answer.

use rust_decimal::Decimal;
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

/// Tokens and cost of one answer, over all its choices.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Usage {
    /// Tokens of the prompts. Each prompt counts once, independent of the number of choices.
    pub prompt_tokens: usize,
    /// Tokens generated for all choices.
    pub completion_tokens: usize,
    /// Sum of both.
    pub total_tokens: usize,
    /// Details of the prompt tokens.
    pub prompt_tokens_details: PromptTokensDetails,
    /// The cost.
    pub cost: AnswerCost,
}

/// Details of the prompt tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct PromptTokensDetails {
    /// Tokens found in the prefix cache.
    pub cached_tokens: usize,
}

/// The cost of an answer, by who computed it.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum AnswerCost {
    /// This server did.
    Measured(Cost),
    /// A vendor did.
    Billed(BilledCost),
}

/// What a vendor asks for an answer.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct BilledCost {
    /// The vendor's counts at its prices; absent if one of them is unknown.
    #[serde(serialize_with = "as_number", skip_serializing_if = "Option::is_none")]
    pub usd: Option<Decimal>,
    /// `billed` by the vendor's own counts, `estimated` where it gave none, or `unknown`.
    pub basis: &'static str,
    /// The vendor's name in the routes file.
    pub vendor: String,
    /// The model that answered, as the vendor names it.
    pub model: String,
}

/// The measured cost of an answer. Dollars are absent if no price is known.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Cost {
    /// The answer's share of the device time, over all its choices.
    pub device_seconds: f64,
    /// `device_seconds` at `price_per_hour_usd`.
    #[serde(serialize_with = "as_number", skip_serializing_if = "Option::is_none")]
    pub usd: Option<Decimal>,
    /// The same including a share of the time in the last minutes in which nothing was computed.
    #[serde(serialize_with = "as_number", skip_serializing_if = "Option::is_none")]
    pub loaded_usd: Option<Decimal>,
    /// The same at the machine's capacity within its SLO. Absent if that is not known.
    #[serde(serialize_with = "as_number", skip_serializing_if = "Option::is_none")]
    pub at_capacity_usd: Option<Decimal>,
    /// Price of the machine.
    #[serde(serialize_with = "as_number", skip_serializing_if = "Option::is_none")]
    pub price_per_hour_usd: Option<Decimal>,
    /// How the seconds were determined.
    pub basis: &'static str,
}

/// Tokens of an unfinished answer, over all its choices.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct TokensSoFar {
    /// Tokens of the prompts.
    pub prompt_tokens: usize,
    /// Tokens generated so far.
    pub completion_tokens: usize,
    /// Sum of both.
    pub total_tokens: usize,
}

/// The `usage` field of a chunk.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum StreamedUsage {
    /// The caller did not request usage: the field is absent.
    NotAsked,
    /// `null`, in every chunk except the last.
    Later,
    /// The tokens so far.
    SoFar(TokensSoFar),
    /// The usage of the whole answer.
    Complete(Usage),
}

impl StreamedUsage {
    pub(crate) fn is_absent(&self) -> bool {
        matches!(self, Self::NotAsked)
    }
}

/// Writes a decimal as a JSON number with all its digits. A float would round it.
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
