//! What became of a request. Moments are seconds since the load began.

use std::fmt;
use std::sync::Arc;

use rust_decimal::Decimal;

/// A request that was sent.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// The model or adapter that was asked.
    pub model: Arc<str>,
    /// Its place among all requests of the load, from 0.
    pub number: usize,
    /// When it was due.
    pub due_at: f64,
    /// When it was sent.
    pub sent_at: f64,
    /// Tokens that the prompt was made for.
    pub prompt_tokens_asked: u64,
    /// Tokens that were asked for.
    pub output_tokens_asked: u64,
    /// What came back.
    pub outcome: Result<Answer, Failure>,
}

/// A whole answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// When each piece of text came; never empty.
    pub text_at: Vec<f64>,
    /// When the last piece of text or the end came, whichever was later.
    pub ended_at: f64,
    /// What the server counted; absent where it does not say.
    pub usage: Option<AnswerUsage>,
}

/// What the server counted.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AnswerUsage {
    /// Tokens of the prompt.
    pub prompt_tokens: u64,
    /// Of these, out of the server's cache, where it says so.
    pub cached_tokens: Option<u64>,
    /// Tokens of the answer.
    pub completion_tokens: u64,
    /// The device's time for it, where the server meters that.
    pub device_seconds: Option<f64>,
    /// What that cost, where the server knows a price.
    pub usd: Option<Decimal>,
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Failure {
    /// What happened.
    pub kind: FailureKind,
    /// In the words of whoever noticed.
    pub message: String,
    /// When it was noticed.
    pub at: f64,
}

/// What can happen to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum FailureKind {
    /// No connection.
    Connection,
    /// Not all of the answer came in time.
    Timeout,
    /// The server is full: status 429.
    TooManyRequests,
    /// Another status than success.
    Status(u16),
    /// A success that is no stream of events.
    NotAStream,
    /// The stream ended before the answer did.
    CutOff,
    /// The stream told of an error.
    ErrorEvent,
    /// The stream ended without any text.
    NoText,
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
        }
    }
}

impl Record {
    /// Seconds from sending to the first text.
    pub fn ttft(&self) -> Option<f64> {
        let answer = self.outcome.as_ref().ok()?;
        Some(answer.text_at.first()? - self.sent_at)
    }

    /// Seconds an output token after the first, as vLLM reckons: from the first text to the end,
    /// by the tokens that came after the first. None where only one came.
    pub fn tpot(&self) -> Option<f64> {
        let answer = self.outcome.as_ref().ok()?;
        let tokens_after_first = self.output_tokens().checked_sub(1).filter(|it| *it > 0)?;
        Some((answer.ended_at - answer.text_at.first()?) / tokens_after_first as f64)
    }

    /// Seconds from sending to the end.
    pub fn e2e(&self) -> Option<f64> {
        Some(self.outcome.as_ref().ok()?.ended_at - self.sent_at)
    }

    /// When it ended, well or not.
    pub fn ended_at(&self) -> f64 {
        match &self.outcome {
            Ok(answer) => answer.ended_at,
            Err(failure) => failure.at,
        }
    }

    /// Tokens of the prompt, as the server counted them, or as they were meant to be.
    pub fn prompt_tokens(&self) -> u64 {
        self.usage()
            .map_or(self.prompt_tokens_asked, |usage| usage.prompt_tokens)
    }

    /// Of these, out of the server's cache.
    pub fn cached_tokens(&self) -> u64 {
        self.usage()
            .and_then(|usage| usage.cached_tokens)
            .unwrap_or(0)
    }

    /// Tokens of the answer, as the server counted them, else one for each piece of text.
    pub fn output_tokens(&self) -> u64 {
        let Ok(answer) = &self.outcome else { return 0 };
        let pieces = answer.text_at.len() as u64;
        self.usage().map_or(pieces, |usage| usage.completion_tokens)
    }

    /// What the server counted.
    pub fn usage(&self) -> Option<&AnswerUsage> {
        self.outcome.as_ref().ok()?.usage.as_ref()
    }
}
