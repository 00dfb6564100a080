//! A route's checks of an answer.

use std::sync::Arc;

use farthing_gateway::{Check, CheckOutcome, RequestFacts};
use farthing_ledger::Feedback;

use crate::clock::unix_microseconds;
use crate::request::bookkeeper::Bookkeeper;

/// A complete answer that is to be checked.
pub(super) struct CheckedAnswer {
    pub checks: Arc<Vec<Check>>,
    pub facts: Arc<RequestFacts>,
    pub request_id: String,
    pub bookkeeper: Bookkeeper,
    /// Of each choice.
    pub texts: Vec<String>,
}

impl CheckedAnswer {
    /// Checks it in the background. Schemas and patterns take their time, so they run on a thread for that.
    pub(super) fn check(self) {
        tokio::spawn(async move {
            let bookkeeper = self.bookkeeper.clone();
            let checked = tokio::task::spawn_blocking(move || self.run()).await;
            for feedback in checked.unwrap_or_default() {
                // A failure is in the log.
                let _ = bookkeeper.feedback(feedback).await;
            }
        });
    }

    fn run(&self) -> Vec<Feedback> {
        let mut results = Vec::new();
        for check in self.checks.iter() {
            let tag = |name: &str| self.facts.tags.get(name).cloned();
            let outcomes = self.texts.iter().map(|text| check.run(text, tag));
            let outcomes: Vec<_> = outcomes.collect();
            let passed = outcomes
                .iter()
                .filter(|it| **it == CheckOutcome::Passed)
                .count();
            let applied = outcomes
                .iter()
                .filter(|it| **it != CheckOutcome::NotApplicable)
                .count();
            if applied == 0 {
                continue;
            }
            let failure = outcomes.into_iter().find_map(|outcome| match outcome {
                CheckOutcome::Failed(why) => Some(why),
                _ => None,
            });
            results.push(Feedback {
                request_id: self.request_id.clone(),
                metric: check.name().to_owned(),
                value: Some(passed as f64 / applied as f64),
                comment: failure.map(|why| why.chars().take(MAX_REASON_CHARS).collect()),
                source: "check".to_owned(),
                received_us: unix_microseconds(),
            });
        }
        results
    }
}

/// A schema's reason may quote the whole answer.
const MAX_REASON_CHARS: usize = 200;
