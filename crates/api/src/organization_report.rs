//! Answers about usage and costs, in the shapes of OpenAI's admin API.

use rust_decimal::Decimal;
use serde::Serialize;

use crate::usage::as_number;

/// One answer: some buckets, and where to go on.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "object", rename = "page")]
pub struct UsagePage<R> {
    /// In the order of time, empty ones included.
    pub data: Vec<UsageBucket<R>>,
    /// Whether there are more.
    pub has_more: bool,
    /// The `page` to ask for next.
    pub next_page: Option<String>,
}

/// What happened from one moment to another, in seconds since 1970.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "object", rename = "bucket")]
pub struct UsageBucket<R> {
    /// Its first second.
    pub start_time: i64,
    /// The second after its last.
    pub end_time: i64,
    /// One a group.
    pub results: Vec<R>,
}

/// What a group of requests took. Of the fields from `project_id` on those are null that the
/// query did not group by, or that nobody here has.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(tag = "object", rename = "organization.usage.completions.result")]
pub struct CompletionsUsage {
    /// Tokens of prompts, those from the cache included.
    pub input_tokens: u64,
    /// Of them from the prefix cache.
    pub input_cached_tokens: u64,
    /// Tokens generated.
    pub output_tokens: u64,
    /// Always 0.
    pub input_audio_tokens: u64,
    /// Always 0.
    pub output_audio_tokens: u64,
    /// Requests that reached the model.
    pub num_model_requests: u64,
    /// Always null.
    pub project_id: Option<String>,
    /// The requests' `user`.
    pub user_id: Option<String>,
    /// The API key's name.
    pub api_key_id: Option<String>,
    /// The name that requests asked for.
    pub model: Option<String>,
    /// Always null.
    pub batch: Option<bool>,
    /// Always null.
    pub service_tier: Option<String>,
    /// The adapter (ours).
    pub adapter: Option<String>,
    /// The API key's name, or else the request's `user` (ours).
    pub tenant: Option<String>,
}

/// What a group cost.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(tag = "object", rename = "organization.costs.result")]
pub struct Costs {
    /// The money; its value is null where the machine has no price.
    pub amount: Amount,
    /// What the money went on; always told where it was no request's.
    pub line_item: Option<String>,
    /// How much of it, where grouped by line item.
    #[serde(serialize_with = "as_number")]
    pub quantity: Option<Decimal>,
    /// `tokens` or `duration_seconds`.
    pub quantity_unit: Option<&'static str>,
    /// Always null.
    pub project_id: Option<String>,
    /// The requests' `user`.
    pub user_id: Option<String>,
    /// The API key's name.
    pub api_key_id: Option<String>,
    /// The name that requests asked for (ours).
    pub model: Option<String>,
    /// The adapter (ours).
    pub adapter: Option<String>,
    /// The API key's name, or else the request's `user` (ours).
    pub tenant: Option<String>,
}

/// Money.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Amount {
    /// With all the digits of a decimal.
    #[serde(serialize_with = "as_number")]
    pub value: Option<Decimal>,
    /// The currency's code in lower case.
    pub currency: Currency,
}

/// Currencies that costs are told in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Currency {
    /// US dollars.
    #[default]
    Usd,
}
