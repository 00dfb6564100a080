//! The result of a request. Times are seconds since the start of the load.

use std::fmt;
use std::sync::Arc;

use rust_decimal::Decimal;

/// A request that was sent.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// The requested model or adapter.
    pub model: Arc<str>,
    /// Index among all requests of the load.
    pub number: usize,
    /// When it was due.
    pub due_at: f64,
    /// When it was sent.
    pub sent_at: f64,
    /// Intended number of prompt tokens.
    pub prompt_tokens_asked: u64,
    /// Requested number of output tokens.
    pub output_tokens_asked: u64,
    /// The answer or the failure.
    pub outcome: Result<Answer, Failure>,
}

/// A complete answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// Times of the pieces of text; never empty.
    pub text_at: Vec<f64>,
    /// Time of the last piece of text or of the end, whichever was later.
    pub ended_at: f64,
    /// The server's token counts, if reported.
    pub usage: Option<AnswerUsage>,
}

/// The server's token counts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AnswerUsage {
    /// Tokens of the prompt, if reported.
    pub prompt_tokens: Option<u64>,
    /// The part of `prompt_tokens` from the server's cache, if reported.
    pub cached_tokens: Option<u64>,
    /// Tokens of the answer.
    pub completion_tokens: u64,
    /// Device seconds, if the server meters them.
    pub device_seconds: Option<f64>,
    /// Cost, if the server knows a price.
    pub usd: Option<Decimal>,
}

/// A failed request.
#[derive(Clone, Debug, PartialEq)]
pub struct Failure {
    /// The kind of failure.
    pub kind: FailureKind,
    /// The error message.
    pub message: String,
    /// When it was noticed.
    pub at: f64,
}

/// The kinds of failures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum FailureKind {
    /// No connection.
    Connection,
    /// The answer was not complete in time.
    Timeout,
    /// The server is full (status 429).
    TooManyRequests,
    /// Another error status.
    Status(u16),
    /// A success status, but no event stream.
    NotAStream,
    /// The stream ended before the answer did.
    CutOff,
    /// An event in the stream reported an error.
    ErrorEvent,
    /// The stream ended without text.
    NoText,
    /// The token counts cannot be read, or contradict each other.
    BadUsage,
}

impl fmt::Display for FailureKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connection => write!(f, "no connection"),
            Self::Timeout => write!(f, "timed out"),
            Self::TooManyRequests => write!(f, "status 429, too many requests"),
            Self::Status(status) => write!(f, "status {status}"),
            Self::NotAStream => write!(f, "no stream of events"),
            Self::CutOff => write!(f, "cut off"),
            Self::ErrorEvent => write!(f, "an error amid the stream"),
            Self::NoText => write!(f, "no text"),
            Self::BadUsage => write!(f, "invalid token counts"),
        }
    }
}

impl Record {
    /// Seconds from sending to the first text.
    pub fn ttft(&self) -> Option<f64> {
        let answer = self.outcome.as_ref().ok()?;
        Some(answer.text_at.first()? - self.sent_at)
    }

    /// Seconds per output token after the first, as in vLLM: the time from the first text to the
    /// end, divided by the number of tokens after the first. `None` for a single token.
    pub fn tpot(&self) -> Option<f64> {
        let answer = self.outcome.as_ref().ok()?;
        let tokens_after_first = self.output_tokens().checked_sub(1).filter(|it| *it > 0)?;
        Some((answer.ended_at - answer.text_at.first()?) / tokens_after_first as f64)
    }

    /// Seconds from sending to the end.
    pub fn e2e(&self) -> Option<f64> {
        Some(self.outcome.as_ref().ok()?.ended_at - self.sent_at)
    }

    /// When the request ended, with or without success.
    pub fn ended_at(&self) -> f64 {
        match &self.outcome {
            Ok(answer) => answer.ended_at,
            Err(failure) => failure.at,
        }
    }

    /// Prompt tokens: the server's count, or the intended number.
    pub fn prompt_tokens(&self) -> u64 {
        self.usage()
            .and_then(|usage| usage.prompt_tokens)
            .unwrap_or(self.prompt_tokens_asked)
    }

    /// Cached prompt tokens.
    pub fn cached_tokens(&self) -> u64 {
        self.usage()
            .and_then(|usage| usage.cached_tokens)
            .unwrap_or(0)
    }

    /// Output tokens: the server's count, or one per piece of text.
    pub fn output_tokens(&self) -> u64 {
        self.usage()
            .map_or(self.pieces(), |usage| usage.completion_tokens)
    }

    /// Pieces of text.
    pub fn pieces(&self) -> u64 {
        let answer = self.outcome.as_ref();
        answer.map_or(0, |answer| answer.text_at.len() as u64)
    }

    /// The server's token counts.
    pub fn usage(&self) -> Option<&AnswerUsage> {
        self.outcome.as_ref().ok()?.usage.as_ref()
    }
}
