//! One row: what an attempt at answering a request came to.

use rust_decimal::Decimal;

use crate::Picoseconds;

/// One attempt, however it ended. Moments are microseconds since 1970 in UTC.
#[derive(Clone, Debug, PartialEq)]
pub struct LedgerEntry {
    /// The answer's id, or one of the same kind where there was no answer.
    pub request_id: String,
    /// When the request arrived.
    pub started_us: i64,
    /// When the attempt was over: the moment it is counted at.
    pub ended_us: i64,
    /// The name of the API key that asked.
    pub api_key: Option<String>,
    /// The request's own `user`.
    pub user: Option<String>,
    /// The base model.
    pub model: String,
    /// The adapter's name.
    pub adapter: Option<String>,
    /// Which weights stood behind that name.
    pub adapter_generation: Option<String>,
    /// Tokens of the prompts, those from the cache included.
    pub input_tokens: u64,
    /// Of them from the prefix cache.
    pub cached_tokens: u64,
    /// Tokens generated, over all choices.
    pub output_tokens: u64,
    /// The attempt's share of the device's time.
    pub device_time: Picoseconds,
    /// Of it for input tokens that were computed.
    pub input_time: Picoseconds,
    /// Of it for input tokens from the cache.
    pub cached_time: Picoseconds,
    /// Of it for output tokens.
    pub output_time: Picoseconds,
    /// `device_time` at the price of the hour, in US dollars, where there is a price.
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
    /// What was asked; only where the operator wants it kept.
    pub prompt: Option<String>,
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
    /// The engine failed it, or the server went away from it.
    Error,
    /// It never began: a bad request, or no room.
    Refused,
}

impl Outcome {
    /// All there are.
    pub const ALL: [Self; 5] = [
        Self::Stop,
        Self::Length,
        Self::Abort,
        Self::Error,
        Self::Refused,
    ];

    /// Its name in the ledger.
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
