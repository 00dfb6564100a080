//! Why an attempt failed.

use std::time::Duration;

/// Why an attempt failed. No message holds a key, and vendors' texts are shortened and escaped.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VendorError {
    /// The vendor failed recently. Nothing was sent.
    #[error("the vendor is left alone for another {:.1} s after failures", .retry_after.as_secs_f64())]
    CoolingDown {
        /// When the next attempt is allowed.
        retry_after: Duration,
    },
    /// `max_concurrent` attempts are running. Nothing was sent.
    #[error("all {max_concurrent} places of the vendor are taken (`max_concurrent`)")]
    Busy {
        /// The limit.
        max_concurrent: usize,
    },
    /// The attempt could cost more than is left of the day's cap. Nothing was sent.
    #[error("the attempt may cost more than is left of the vendor's `usd_per_day`")]
    SpendCapReached,
    /// There is a cap, and the most that the attempt can cost is unknown. Nothing was sent.
    #[error("`usd_per_day` is set, and the most that the attempt can cost is unknown: {0}")]
    CostUnknown(String),
    /// The dialect cannot express the request. Nothing was sent.
    #[error("`{parameter}` cannot be translated for the vendor: {problem}")]
    Untranslatable {
        /// The parameter, as a path within the request.
        parameter: String,
        /// Why not.
        problem: String,
    },
    /// No connection. Nothing was answered.
    #[error("no connection to the vendor: {0}")]
    Connect(String),
    /// No content came in time.
    #[error("the vendor sent no content within {:.1} s (`first_content_seconds`)", .0.as_secs_f64())]
    FirstContentTimeout(Duration),
    /// The vendor fell silent in the middle of an answer.
    #[error("the vendor fell silent for {:.1} s (`idle_seconds`)", .0.as_secs_f64())]
    IdleTimeout(Duration),
    /// The answer took too long.
    #[error("the answer was not complete after {:.1} s (`total_seconds`)", .0.as_secs_f64())]
    TotalTimeout(Duration),
    /// The vendor answered with an error status.
    #[error("the vendor answered with status {status}{}: {message}", or_code(.code))]
    Status {
        /// The HTTP status.
        status: u16,
        /// How long the vendor wants to be left alone.
        retry_after: Option<Duration>,
        /// Whether the vendor says that a retry may help (`x-should-retry`).
        should_retry: Option<bool>,
        /// The vendor's code or type of the error.
        code: Option<String>,
        /// The vendor's text.
        message: String,
        /// Whether the request is longer than the model's context.
        context_too_long: bool,
    },
    /// The vendor reported an error within a stream that began with status 200.
    #[error("the vendor reported an error within the stream{}: {message}", or_code(.code))]
    InBand {
        /// How long the vendor wants to be left alone.
        retry_after: Option<Duration>,
        /// Whether another attempt may help.
        may_retry: bool,
        /// The vendor's code or type of the error.
        code: Option<String>,
        /// The vendor's text.
        message: String,
        /// Whether the request is longer than the model's context.
        context_too_long: bool,
    },
    /// The connection broke in the middle of an answer.
    #[error("the connection broke within the answer: {0}")]
    Broken(String),
    /// The stream ended without its end marker, or before a choice was finished.
    #[error("the stream ended before the answer was complete")]
    Truncated,
    /// The vendor gave fewer answers than `n`: some servers know only one.
    #[error("{wanted} answers were asked for (`n`), and {given} came")]
    MissingChoices {
        /// The number of answers that the client wants.
        wanted: usize,
        /// The number of answers that came.
        given: usize,
    },
    /// The answer is not in the vendor's dialect.
    #[error("the answer is malformed: {problem}")]
    Malformed {
        /// What is wrong with it.
        problem: String,
    },
}

impl VendorError {
    /// Whether another attempt at the same vendor may succeed, as long as the client has seen no
    /// content.
    pub fn may_retry(&self) -> bool {
        match self {
            Self::Status {
                status,
                should_retry,
                ..
            } => should_retry.unwrap_or(matches!(status, 408 | 409 | 429 | 500..=599)),
            Self::InBand { may_retry, .. } => *may_retry,
            Self::Connect(_)
            | Self::Busy { .. }
            | Self::FirstContentTimeout(_)
            | Self::IdleTimeout(_)
            | Self::Broken(_)
            | Self::Truncated
            | Self::CoolingDown { .. } => true,
            Self::SpendCapReached
            | Self::CostUnknown(_)
            | Self::Untranslatable { .. }
            | Self::TotalTimeout(_)
            | Self::MissingChoices { .. }
            | Self::Malformed { .. } => false,
        }
    }

    /// A short name of what happened, for metrics.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::CoolingDown { .. } => "cooling_down",
            Self::Busy { .. } => "busy",
            Self::SpendCapReached => "spend_cap_reached",
            Self::CostUnknown(_) => "cost_unknown",
            Self::Untranslatable { .. } => "untranslatable",
            Self::Connect(_) => "connect",
            Self::FirstContentTimeout(_) => "first_content_timeout",
            Self::IdleTimeout(_) => "idle_timeout",
            Self::TotalTimeout(_) => "total_timeout",
            Self::Status { .. } => "status",
            Self::InBand { .. } => "in_band",
            Self::Broken(_) => "broken",
            Self::Truncated => "truncated",
            Self::MissingChoices { .. } => "missing_choices",
            Self::Malformed { .. } => "malformed",
        }
    }

    /// How long to wait at least before the next attempt at this vendor.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::CoolingDown { retry_after } => Some(*retry_after),
            Self::Status { retry_after, .. } | Self::InBand { retry_after, .. } => *retry_after,
            _ => None,
        }
    }

    /// Whether the request is longer than the model's context, so that another model may answer it.
    pub fn is_context_too_long(&self) -> bool {
        matches!(
            self,
            Self::Status {
                context_too_long: true,
                ..
            } | Self::InBand {
                context_too_long: true,
                ..
            }
        )
    }

    /// The HTTP status of the vendor, if it answered with an error.
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Status { status, .. } => Some(*status),
            _ => None,
        }
    }

    /// Whether it says that the vendor is not well, rather than that this request is not.
    pub(crate) fn is_vendors_fault(&self) -> bool {
        match self {
            Self::Status { status, .. } => matches!(status, 408 | 429 | 500..=599),
            Self::InBand { may_retry, .. } => *may_retry,
            Self::Connect(_)
            | Self::FirstContentTimeout(_)
            | Self::IdleTimeout(_)
            | Self::TotalTimeout(_)
            | Self::Broken(_)
            | Self::Truncated
            | Self::Malformed { .. } => true,
            Self::CoolingDown { .. }
            | Self::Busy { .. }
            | Self::SpendCapReached
            | Self::CostUnknown(_)
            | Self::MissingChoices { .. }
            | Self::Untranslatable { .. } => false,
        }
    }
}

fn or_code(code: &Option<String>) -> String {
    code.as_ref()
        .map_or(String::new(), |code| format!(" ({code})"))
}
