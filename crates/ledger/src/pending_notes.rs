//! Notes that someone waits for.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, oneshot};

use crate::store::Store;
use crate::store::notes::{FeedbackNote, Noted, Notes};
use crate::{Assignment, DecidedVerdict, Feedback, FeedbackChange, LedgerError};

/// How long someone waits for a note.
pub(crate) const NOTE_TIMEOUT: Duration = Duration::from_secs(2);
/// This many notes may wait at once. More would not be written in time.
pub(crate) const MAX_NOTES: usize = 16_384;

/// A caller that a note keeps waiting.
pub(crate) struct Waiter<T> {
    pub answer: oneshot::Sender<Result<T, LedgerError>>,
    /// Limits the notes that wait.
    pub permit: OwnedSemaphorePermit,
}

/// One note.
pub(crate) enum Note {
    Assignment(Assignment, Waiter<()>),
    Feedback(Feedback, Waiter<FeedbackChange>),
    Verdict(DecidedVerdict, Waiter<DecidedVerdict>),
}

/// The notes that are written next.
#[derive(Default)]
pub(crate) struct PendingNotes {
    assignments: Vec<(Assignment, Waiter<()>)>,
    feedback: Vec<(Feedback, Waiter<FeedbackChange>)>,
    verdicts: Vec<(DecidedVerdict, Waiter<DecidedVerdict>)>,
}

impl<T> Waiter<T> {
    fn tell(self, result: Result<T, LedgerError>) {
        drop(self.permit);
        // Who has given up hears nothing.
        let _ = self.answer.send(result);
    }

    fn is_gone<N>((_, waiter): &(N, Self)) -> bool {
        waiter.answer.is_closed()
    }
}

impl PendingNotes {
    pub(crate) fn push(&mut self, note: Note) {
        match note {
            Note::Assignment(assignment, waiter) => self.assignments.push((assignment, waiter)),
            Note::Feedback(feedback, waiter) => self.feedback.push((feedback, waiter)),
            Note::Verdict(verdict, waiter) => self.verdicts.push((verdict, waiter)),
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.assignments.is_empty() && self.feedback.is_empty() && self.verdicts.is_empty()
    }

    /// The requests of feedback.
    pub(crate) fn request_ids(&self) -> impl Iterator<Item = &str> {
        self.feedback.iter().map(|(it, _)| &*it.request_id)
    }

    /// Writes all notes whose callers are still there, and sends them the results. `open` has the requests
    /// whose rows are not expected yet.
    pub(crate) fn write(mut self, store: &mut dyn Store, open: &HashMap<String, bool>) {
        // An assignment that nobody acts on would be a request without an answer.
        self.assignments.retain(|note| !Waiter::is_gone(note));
        self.feedback.retain(|note| !Waiter::is_gone(note));
        self.verdicts.retain(|note| !Waiter::is_gone(note));
        if self.is_empty() {
            return;
        }
        let feedback = self.feedback.iter().map(|(feedback, _)| FeedbackNote {
            feedback,
            is_request_open: open.get(&feedback.request_id).copied().unwrap_or(false),
        });
        let written = store.note(&Notes {
            until: Instant::now() + NOTE_TIMEOUT,
            assignments: self.assignments.iter().map(|(it, _)| it).collect(),
            feedback: feedback.collect(),
            verdicts: self.verdicts.iter().map(|(it, _)| it).collect(),
        });
        match written {
            Ok(noted) => self.tell(noted),
            Err(error) => {
                tracing::error!("notes for the ledger: {error}");
                self.fail(&error.to_string());
            }
        }
    }

    fn tell(self, noted: Noted) {
        for (_, waiter) in self.assignments {
            waiter.tell(Ok(()));
        }
        for ((feedback, waiter), change) in self.feedback.into_iter().zip(noted.feedback) {
            let request_id = feedback.request_id;
            waiter.tell(change.ok_or(LedgerError::UnknownRequest { request_id }));
        }
        for ((_, waiter), held) in self.verdicts.into_iter().zip(noted.verdicts) {
            waiter.tell(Ok(held));
        }
    }

    fn fail(self, reason: &str) {
        let error = || LedgerError::NotRecorded {
            reason: reason.to_owned(),
        };
        for (_, waiter) in self.assignments {
            waiter.tell(Err(error()));
        }
        for (_, waiter) in self.feedback {
            waiter.tell(Err(error()));
        }
        for (_, waiter) in self.verdicts {
            waiter.tell(Err(error()));
        }
    }
}
