//! What is written at once, because someone acts on it.

use crate::LedgerError;

/// A unit's request was assigned to an arm.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assignment {
    /// The experiment's id.
    pub experiment: String,
    /// The arm, with the generation of its adapter if it is pinned to one.
    pub arm: String,
    /// The unit: a user, a session, a key or a request.
    pub unit: String,
    /// The request.
    pub request_id: String,
    /// When, in microseconds since 1970.
    pub assigned_us: i64,
}

/// What someone says of an answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Feedback {
    /// The request that was answered.
    pub request_id: String,
    /// The metric, for example `accepted`.
    pub metric: String,
    /// Who says so: `feedback`, `check`, or `judge:` and its name.
    pub source: String,
    /// The value; `None` if there is only a comment.
    pub value: Option<f64>,
    /// A comment.
    pub comment: Option<String>,
    /// When, in microseconds since 1970.
    pub received_us: i64,
}

impl Feedback {
    pub(crate) fn check(&self) -> Result<(), LedgerError> {
        let names = [
            ("request_id", &self.request_id),
            ("metric", &self.metric),
            ("source", &self.source),
        ];
        if let Some((name, _)) = names.iter().find(|(_, text)| text.is_empty()) {
            return Err(LedgerError::Value(format!(
                "the feedback's {name} is empty"
            )));
        }
        if self.value.is_some_and(|value| !value.is_finite()) {
            let message = "the feedback's value is not finite".to_owned();
            return Err(LedgerError::Value(message));
        }
        Ok(())
    }
}

/// What feedback has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FeedbackChange {
    /// It is the first of its request, metric and source.
    Added,
    /// It has replaced another value or comment.
    Replaced,
    /// The same value and comment were there already.
    Unchanged,
}

/// A verdict at a fixed horizon, which is decided once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DecidedVerdict {
    /// The experiment's id.
    pub experiment: String,
    /// What was decided before the start. Another plan is another verdict.
    pub plan: String,
    /// When, in microseconds since 1970.
    pub decided_us: i64,
    /// The verdict, as JSON.
    pub verdict: String,
}
