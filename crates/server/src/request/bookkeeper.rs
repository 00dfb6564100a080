//! Access to the ledger.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use farthing_economics::HourlyPrice;
use farthing_engine::EngineStats;
use farthing_ledger::{
    Assignment, DecidedVerdict, DeviceSeconds, Feedback, FeedbackChange, Ledger, LedgerConfig,
    LedgerError, LedgerReader, LedgerStatus, Location, Place, Window,
};
use tokio::sync::{Semaphore, oneshot};
use tokio::time::timeout_at;

use crate::clock::{SECONDS_PER_DAY, unix_microseconds, unix_seconds};
use crate::http::error::ApiError;
use crate::request::backend::Backend;

/// Reports that are read from the ledger at the same time. Others wait for their turn.
const READERS: usize = 4;

/// How long a report may take, with the wait for its turn.
const READ_TIMEOUT: Duration = Duration::from_secs(30);

/// Reserves a place in the ledger for each request before it begins. Cheap to clone.
#[derive(Clone)]
pub struct Bookkeeper {
    ledger: Ledger,
    location: Location,
    readers: Arc<Semaphore>,
}

impl Bookkeeper {
    /// Opens the ledger at `location` for a process that serves `model`.
    ///
    /// # Errors
    /// The ledger cannot be opened.
    pub fn open(
        location: Location,
        model: String,
        price: Option<HourlyPrice>,
        backend: Arc<dyn Backend>,
    ) -> Result<Self, LedgerError> {
        let up = backend.stats().seconds.window;
        let config = LedgerConfig {
            location: location.clone(),
            model,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            price,
            started_us: unix_microseconds() - (up * 1e6) as i64,
        };
        let ledger = Ledger::open(config, move || device_seconds(&backend.stats()))?;
        Ok(Self {
            ledger,
            location,
            readers: Arc::new(Semaphore::new(READERS)),
        })
    }

    /// Reads from the ledger. It runs on a thread of its own: queries take long, and a runtime that
    /// ends would wait for one of its own threads.
    pub(crate) async fn read<T: Send + 'static>(
        &self,
        question: impl FnOnce(&mut LedgerReader) -> Result<T, LedgerError> + Send + 'static,
    ) -> Result<T, ApiError> {
        let until = Instant::now() + READ_TIMEOUT;
        let unreadable = |reason: String| {
            tracing::error!("{reason}");
            ApiError::LedgerUnreadable
        };
        let late = || {
            let seconds = READ_TIMEOUT.as_secs();
            unreadable(format!(
                "a report of the ledger took longer than {seconds} s"
            ))
        };
        let turn = self.readers.clone().acquire_owned();
        let turn = timeout_at(until.into(), turn).await.map_err(|_| late())?;
        let location = self.location.clone();
        let (sender, answer) = oneshot::channel();
        let read = move || {
            let answer =
                LedgerReader::open_until(&location, until).and_then(|mut it| question(&mut it));
            drop(turn);
            // The caller may have left.
            let _ = sender.send(answer);
        };
        let thread = thread::Builder::new().name("ledger-reader".to_owned());
        thread
            .spawn(read)
            .map_err(|error| unreadable(format!("cannot start a thread: {error}")))?;
        let answer = timeout_at(until.into(), answer).await.map_err(|_| late())?;
        match answer {
            Ok(answer) => answer.map_err(|error| unreadable(error.to_string())),
            Err(_) => Err(ApiError::Failed("reading the ledger failed".to_owned())),
        }
    }

    pub(crate) fn status(&self) -> LedgerStatus {
        self.ledger.status()
    }

    /// Whether there is no place for another request.
    pub(crate) fn is_full(&self) -> bool {
        let status = self.ledger.status();
        status.places_taken >= status.places
    }

    /// Reserves the place of a request's row.
    pub(crate) fn place(&self) -> Result<Place, ApiError> {
        self.ledger.place().ok_or(ApiError::LedgerFull)
    }

    /// Writes an assignment, before anything is done for it.
    ///
    /// # Errors
    /// The ledger cannot be written.
    pub(crate) async fn assign(&self, assignment: Assignment) -> Result<(), ApiError> {
        self.ledger.assign(assignment).await.map_err(|error| {
            tracing::error!("an assignment could not be written: {error}");
            ApiError::LedgerUnwritable
        })
    }

    /// Records a decision about an experiment, if there is none.
    ///
    /// # Errors
    /// The ledger cannot be written.
    pub(crate) async fn decide(&self, verdict: DecidedVerdict) -> Result<DecidedVerdict, ApiError> {
        self.ledger.decide(verdict).await.map_err(|error| {
            tracing::error!("a verdict could not be written: {error}");
            ApiError::LedgerUnwritable
        })
    }

    /// Records what somebody says of an answer.
    ///
    /// # Errors
    /// There is no such answer, or the ledger cannot be written.
    pub(crate) async fn feedback(&self, feedback: Feedback) -> Result<FeedbackChange, ApiError> {
        let request_id = feedback.request_id.clone();
        match self.ledger.record_feedback(feedback).await {
            Ok(change) => Ok(change),
            Err(LedgerError::UnknownRequest { .. }) => Err(ApiError::UnknownAnswer(request_id)),
            Err(error) => {
                tracing::error!(request_id, "feedback could not be written: {error}");
                Err(ApiError::LedgerUnwritable)
            }
        }
    }

    /// Writes the remaining rows and closes the ledger, within `patience`. This blocks.
    ///
    /// # Errors
    /// Some rows were not written. They are in the log.
    pub fn close(&self, patience: Duration) -> Result<(), LedgerError> {
        self.ledger.close(patience)
    }
}

/// The present day (UTC).
///
/// # Errors
/// The system time is out of range.
pub(crate) fn today() -> Result<Window, LedgerError> {
    let now = unix_seconds() as i64;
    let midnight = now - now % SECONDS_PER_DAY;
    Window::new(midnight, midnight + SECONDS_PER_DAY)
}

fn device_seconds(engine: &EngineStats) -> DeviceSeconds {
    let seconds = engine.seconds;
    DeviceSeconds {
        window: seconds.window,
        steps: seconds.steps,
        idle: seconds.idle,
        host: seconds.host,
        warm_up: seconds.warm_up,
        adapter_load: seconds.adapter_load,
    }
}
