//! The ledger of a running server.

use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use farthing_economics::HourlyPrice;
use tokio::sync::{Semaphore, oneshot};

use crate::pending_notes::{MAX_NOTES, NOTE_TIMEOUT, Note, Waiter};
use crate::status::SharedStatus;
use crate::store::{self, Access, Run, Store};
use crate::writer::{self, Message, Writer};
use crate::{
    Assignment, DecidedVerdict, DeviceSeconds, Feedback, FeedbackChange, LedgerEntry, LedgerError,
    LedgerStatus, Location,
};

/// Records one row per attempt. One thread writes all rows. Cheap to clone.
///
/// Rows are written in batches: every [`FLUSH_INTERVAL`](Ledger::FLUSH_INTERVAL), or as soon as
/// [`BATCH_ROWS`](Ledger::BATCH_ROWS) are waiting. A process that is killed loses at most the
/// waiting rows; one that ends with [`close`](Ledger::close) loses none.
///
/// Memory is bounded by places. A request takes a place before it begins, so that no work is done
/// that could not be recorded. While the database is slow or unreachable, rows wait in their places
/// and flushes are retried; when all places are taken, no new request can begin.
///
/// What someone acts on (an [`assign`](Ledger::assign)ment, feedback, a verdict) does not wait for
/// a batch: it is written at once, together with all else that waits at that moment.
#[derive(Clone)]
pub struct Ledger {
    messages: Sender<Message>,
    notes: Arc<Semaphore>,
    status: Arc<SharedStatus>,
    writer: Arc<Mutex<Option<WriterThread>>>,
}

type WriterThread = JoinHandle<Result<(), LedgerError>>;

/// What the ledger records about this process.
#[derive(Clone, Debug)]
pub struct LedgerConfig {
    /// Where the ledger is.
    pub location: Location,
    /// The name of the base model.
    pub model: String,
    /// This program's version.
    pub version: String,
    /// The price of the machine, if known.
    pub price: Option<HourlyPrice>,
    /// When the process began, in microseconds since 1970.
    pub started_us: i64,
}

/// A place for one row. Dropping it unused frees it.
pub struct Place {
    messages: Sender<Message>,
    status: Arc<SharedStatus>,
    is_used: bool,
    request_id: Option<String>,
}

impl Ledger {
    /// Maximum time until a row is written.
    pub const FLUSH_INTERVAL: Duration = writer::FLUSH_INTERVAL;
    /// This many waiting rows are written at once.
    pub const BATCH_ROWS: usize = writer::BATCH_ROWS;
    /// Without rows, the device time is still recorded this often.
    pub const HEARTBEAT: Duration = writer::HEARTBEAT;
    /// Maximum number of waiting rows and running requests together.
    pub const PLACES: usize = 65_536;

    /// Opens or creates the ledger and starts the writer. `device` returns the current device time;
    /// the writer calls it at every flush.
    ///
    /// # Errors
    /// The database cannot be opened, belongs to something else, or has a newer schema.
    pub fn open(
        config: LedgerConfig,
        device: impl Fn() -> DeviceSeconds + Send + 'static,
    ) -> Result<Self, LedgerError> {
        let store = store::open(&config.location, Access::Write)?;
        Self::start(store, config, Self::PLACES, Box::new(device))
    }

    /// Checks that a ledger can be opened there and is not damaged, before a model is loaded.
    ///
    /// # Errors
    /// Those of [`open`](Self::open).
    pub fn check(location: &Location) -> Result<(), LedgerError> {
        store::open(location, Access::Write)?.verify()
    }

    pub(crate) fn start(
        mut store: Box<dyn Store>,
        config: LedgerConfig,
        places: usize,
        device: Box<dyn Fn() -> DeviceSeconds + Send>,
    ) -> Result<Self, LedgerError> {
        store.begin(Run {
            started_us: config.started_us,
            model: config.model,
            version: config.version,
            price_per_hour_usd: config.price.map(|price| price.usd().to_string()),
        })?;
        let (messages, inbox) = mpsc::channel();
        let status = Arc::new(SharedStatus::new(places));
        let writer = Writer::new(store, config.started_us, device, status.clone());
        let thread = std::thread::Builder::new()
            .name("ledger".to_owned())
            .spawn(move || writer.run(&inbox))
            .map_err(LedgerError::Thread)?;
        Ok(Self {
            messages,
            notes: Arc::new(Semaphore::new(MAX_NOTES)),
            status,
            writer: Arc::new(Mutex::new(Some(thread))),
        })
    }

    /// Takes a place for a row that will be recorded later; `None` if all are taken.
    pub fn place(&self) -> Option<Place> {
        self.status.take_place().then(|| Place {
            messages: self.messages.clone(),
            status: self.status.clone(),
            is_used: false,
            request_id: None,
        })
    }

    /// Records to which arm a unit's request was assigned, before anything is sent. The same
    /// experiment and request a second time change nothing.
    ///
    /// It resolves when the row is in the database, where it survives the end of this process.
    ///
    /// # Errors
    /// The database has not accepted it within 2 s, or the ledger is closed. The row may still
    /// appear, as a request without an attempt.
    pub fn assign(
        &self,
        assignment: Assignment,
    ) -> impl Future<Output = Result<(), LedgerError>> + Send + use<> {
        self.note(|waiter| Note::Assignment(assignment, waiter))
    }

    /// Records feedback. A later value of the same request, metric and source replaces the earlier
    /// one. The request may still run, if its [`Place`] was [`announce`](Place::announce)d.
    ///
    /// # Errors
    /// There is no such request, the value is not finite, a name is empty, or as
    /// [`assign`](Self::assign).
    pub fn record_feedback(
        &self,
        feedback: Feedback,
    ) -> impl Future<Output = Result<FeedbackChange, LedgerError>> + Send + use<> {
        let checked = feedback.check();
        let noted = checked.map(|()| self.note(|waiter| Note::Feedback(feedback, waiter)));
        async move { noted?.await }
    }

    /// Records a verdict, if there is none of its experiment and plan, and returns the one that
    /// holds.
    ///
    /// # Errors
    /// As [`assign`](Self::assign).
    pub fn decide(
        &self,
        verdict: DecidedVerdict,
    ) -> impl Future<Output = Result<DecidedVerdict, LedgerError>> + Send + use<> {
        self.note(|waiter| Note::Verdict(verdict, waiter))
    }

    /// Sends a note to the writer and waits for its answer.
    fn note<T: Send + 'static, N: FnOnce(Waiter<T>) -> Note>(
        &self,
        note: N,
    ) -> impl Future<Output = Result<T, LedgerError>> + Send + use<T, N> {
        let refusal = |reason: &str| LedgerError::NotRecorded {
            reason: reason.to_owned(),
        };
        let sent = self.notes.clone().try_acquire_owned();
        let sent = sent.map_err(|_| refusal("too much waits for the database"));
        let sent = sent.and_then(|permit| {
            let (answer, answered) = oneshot::channel();
            let note = note(Waiter { answer, permit });
            let sent = self.messages.send(Message::Note(Box::new(note)));
            sent.map_err(|_| refusal("it is closed"))?;
            Ok(answered)
        });
        async move {
            match tokio::time::timeout(NOTE_TIMEOUT, sent?).await {
                Ok(Ok(answer)) => answer,
                Ok(Err(_)) => Err(refusal("it is closed")),
                Err(_) => Err(LedgerError::NoAnswer {
                    seconds: NOTE_TIMEOUT.as_secs_f64(),
                }),
            }
        }
    }

    /// Current state and counters.
    pub fn status(&self) -> LedgerStatus {
        self.status.seen_at(Instant::now())
    }

    /// Waits for the rows of all taken places, writes them, marks the run as closed and ends the
    /// writer, all within `patience`. Rows that the database does not accept in time are written to
    /// the log. Closing again waits for the same end, and may shorten the patience.
    ///
    /// # Errors
    /// Rows were left over. Only the first caller is told so.
    pub fn close(&self, patience: Duration) -> Result<(), LedgerError> {
        let until = Instant::now() + patience;
        // If the writer has ended, it has logged why.
        let _ = self.messages.send(Message::Close { until });
        let mut writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(thread) = writer.take() else {
            return Ok(());
        };
        match thread.join() {
            Ok(closed) => closed,
            Err(_) => Err(LedgerError::Unwritten {
                rows: self.status().places_taken,
                reason: "the writer has panicked".to_owned(),
            }),
        }
    }
}

impl Place {
    /// Says which request has this place, so that feedback is accepted before its row is written.
    pub fn announce(&mut self, request_id: &str) {
        self.retract();
        self.status.announce(request_id);
        self.request_id = Some(request_id.to_owned());
    }

    fn retract(&mut self) {
        if let Some(request_id) = self.request_id.take() {
            self.status.retract(&request_id);
        }
    }

    /// Passes the row to the writer. It does not block.
    pub fn record(mut self, entry: LedgerEntry) {
        self.is_used = true;
        if let Err(unsent) = self.messages.send(Message::Entry(Box::new(entry))) {
            self.status.free_places(1);
            if let Message::Entry(entry) = unsent.0 {
                tracing::error!(?entry, "the ledger is closed: this row is only in the log");
            }
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.retract();
        if !self.is_used {
            self.status.free_places(1);
        }
    }
}

#[cfg(test)]
mod tests;
