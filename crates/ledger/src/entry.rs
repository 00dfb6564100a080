//! One row of the ledger: an attempt at answering a request.

use rust_decimal::Decimal;

use crate::{Picoseconds, Routing, VendorCharge};

/// One attempt, however it ended. Times are microseconds since 1970 in UTC.
#[derive(Clone, Debug, PartialEq)]
pub struct LedgerEntry {
    /// The answer's id, or an id of the same form if there was no answer. All attempts of a request
    /// have the same.
    pub request_id: String,
    /// When the request arrived.
    pub started_us: i64,
    /// When the attempt ended. It is counted at this time.
    pub ended_us: i64,
    /// The name of the API key.
    pub api_key: Option<String>,
    /// The tenant of the API key; `None` without a key.
    pub tenant: Option<String>,
    /// The request's `user`.
    pub user: Option<String>,
    /// The base model.
    pub model: String,
    /// The adapter's name.
    pub adapter: Option<String>,
    /// The generation of the adapter.
    pub adapter_generation: Option<String>,
    /// Tokens of the prompts, including cached ones.
    pub input_tokens: u64,
    /// The part of `input_tokens` that was found in the prefix cache.
    pub cached_tokens: u64,
    /// Tokens generated, over all choices.
    pub output_tokens: u64,
    /// The attempt's share of the device time.
    pub device_time: Picoseconds,
    /// The part of `device_time` for computed input tokens.
    pub input_time: Picoseconds,
    /// The part of `device_time` for cached input tokens.
    pub cached_time: Picoseconds,
    /// The part of `device_time` for output tokens.
    pub output_time: Picoseconds,
    /// The cost of `device_time` in US dollars, if a price is known.
    pub cost_usd: Option<Decimal>,
    /// From arrival at the engine to the first step.
    pub queue_seconds: Option<f64>,
    /// From arrival to the first token of any choice.
    pub ttft_seconds: Option<f64>,
    /// Median time between tokens of a choice.
    pub itl_p50_seconds: Option<f64>,
    /// 95th percentile of the times between tokens of a choice.
    pub itl_p95_seconds: Option<f64>,
    /// How it ended.
    pub outcome: Outcome,
    /// The HTTP status of the answer.
    pub status: u16,
    /// The text of the prompt, if the operator keeps prompts.
    pub prompt: Option<String>,
    /// Its place in a route; `None` if it came without one.
    pub routing: Option<Routing>,
    /// The vendor's charge; `None` if our own engine answered.
    pub vendor: Option<VendorCharge>,
}

/// How an attempt ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Outcome {
    /// The model ended every choice by itself, or a stop string was reached.
    Stop,
    /// `max_tokens` or the end of the context was reached.
    Length,
    /// The caller left.
    Abort,
    /// The engine or the server failed.
    Error,
    /// It never started: the request was invalid, or there was no room.
    Refused,
}

impl Outcome {
    /// All outcomes.
    pub const ALL: [Self; 5] = [
        Self::Stop,
        Self::Length,
        Self::Abort,
        Self::Error,
        Self::Refused,
    ];

    /// The name in the ledger.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Stop => "stop",
            Self::Length => "length",
            Self::Abort => "abort",
            Self::Error => "error",
            Self::Refused => "refused",
        }
    }
}
