//! What is written at once, and what became of it.

use std::time::Instant;

use crate::{Assignment, DecidedVerdict, Feedback, FeedbackChange};

/// All that is written together.
pub(crate) struct Notes<'a> {
    pub until: Instant,
    pub assignments: Vec<&'a Assignment>,
    pub feedback: Vec<FeedbackNote<'a>>,
    pub verdicts: Vec<&'a DecidedVerdict>,
}

pub(crate) struct FeedbackNote<'a> {
    pub feedback: &'a Feedback,
    /// The request is not finished, or may not be: its row is not expected yet.
    pub is_request_open: bool,
}

/// In the order of the notes.
#[derive(Debug, Default)]
pub(crate) struct Noted {
    /// `None` if there is no such request.
    pub feedback: Vec<Option<FeedbackChange>>,
    /// The verdicts that hold.
    pub verdicts: Vec<DecidedVerdict>,
}

/// What the database has of the same request, metric and source.
pub(super) type StoredFeedback = (Option<f64>, Option<String>);

impl FeedbackNote<'_> {
    pub(super) fn change(&self, stored: Option<&StoredFeedback>) -> FeedbackChange {
        let Feedback { value, comment, .. } = self.feedback;
        match stored {
            None => FeedbackChange::Added,
            Some((old, said)) if old == value && said == comment => FeedbackChange::Unchanged,
            Some(_) => FeedbackChange::Replaced,
        }
    }
}

pub(super) const INSERT_ASSIGNMENT: &str =
    "INSERT INTO assignments (experiment, arm, unit, request_id, assigned_us)";

pub(super) const SELECT_FEEDBACK: &str =
    "SELECT value, comment FROM feedback WHERE request_id = $1 AND metric = $2 AND source = $3";

pub(super) const UPSERT_FEEDBACK: &str = "INSERT INTO feedback (request_id, metric, source, value, \
    comment, received_us) VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (request_id, metric, source) \
    DO UPDATE SET value = excluded.value, comment = excluded.comment, \
    received_us = excluded.received_us";

pub(super) const SELECT_REQUEST: &str = "SELECT 1 FROM assignments WHERE request_id = $1 \
    UNION ALL SELECT 1 FROM attempts WHERE request_id = $1 LIMIT 1";

pub(super) const INSERT_VERDICT: &str = "INSERT INTO verdicts (experiment, plan, decided_us, \
    verdict) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING";

pub(crate) const SELECT_VERDICT: &str =
    "SELECT decided_us, verdict FROM verdicts WHERE experiment = $1 AND plan = $2";
