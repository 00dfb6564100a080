//! Reports of usage and costs, in the format of OpenAI's admin API.

use rust_decimal::Decimal;
use serde::Serialize;

use crate::usage::as_number;

/// One page of a report.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "object", rename = "page")]
pub struct UsagePage<R> {
    /// In the order of time, including empty buckets.
    pub data: Vec<UsageBucket<R>>,
    /// Whether more pages follow.
    pub has_more: bool,
    /// The `page` of the next request.
    pub next_page: Option<String>,
}

/// One bucket. Times are seconds since 1970.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "object", rename = "bucket")]
pub struct UsageBucket<R> {
    /// The first second.
    pub start_time: i64,
    /// The second after the last.
    pub end_time: i64,
    /// One result per group.
    pub results: Vec<R>,
}

/// Usage of a group of requests. Fields from `project_id` on are null if the query does not group
/// by them, or they have no counterpart here.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(tag = "object", rename = "organization.usage.completions.result")]
pub struct CompletionsUsage {
    /// Tokens of prompts, including cached ones.
    pub input_tokens: u64,
    /// The part of `input_tokens` from the prefix cache.
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
    /// The model name in the request.
    pub model: Option<String>,
    /// Always null.
    pub batch: Option<bool>,
    /// Always null.
    pub service_tier: Option<String>,
    /// The adapter (Farthing's field).
    pub adapter: Option<String>,
    /// The API key's name, or the request's `user` if there is no key (Farthing's field).
    pub tenant: Option<String>,
}

/// Costs of a group.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(tag = "object", rename = "organization.costs.result")]
pub struct Costs {
    /// The amount. Its value is null if the machine has no price.
    pub amount: Amount,
    /// The use of the money. Always present if it is not about requests.
    pub line_item: Option<String>,
    /// The quantity, if grouped by line item.
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
    /// The model name in the request (Farthing's field).
    pub model: Option<String>,
    /// The adapter (Farthing's field).
    pub adapter: Option<String>,
    /// The API key's name, or the request's `user` if there is no key (Farthing's field).
    pub tenant: Option<String>,
}

/// An amount of money.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Amount {
    /// The exact decimal value.
    #[serde(serialize_with = "as_number")]
    pub value: Option<Decimal>,
    /// The currency code in lower case.
    pub currency: Currency,
}

/// The currencies of costs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Currency {
    /// US dollars.
    #[default]
    Usd,
}
