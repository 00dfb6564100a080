//! The ledger that a server writes.

use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use farthing_economics::HourlyPrice;

use crate::status::SharedStatus;
use crate::store::{self, Access, Run, Store};
use crate::writer::{Message, Writer};
use crate::{DeviceSeconds, LedgerEntry, LedgerError, LedgerStatus, Location};

/// One row an attempt, written by one thread. Cheap to clone.
///
/// Rows are written in batches: every [`FLUSH_INTERVAL`](Ledger::FLUSH_INTERVAL), or as soon as
/// [`BATCH_ROWS`](Ledger::BATCH_ROWS) wait. A process that is killed loses at most the rows that
/// waited; one that ends by [`close`](Ledger::close) loses none.
///
/// Memory is bounded by places: who is going to record a row takes one before the work begins, so
/// that no work is done that could not be recorded. While the database is slow or gone, rows wait
/// in their places and flushes are tried again; once all places are taken, there is no new one.
#[derive(Clone)]
pub struct Ledger {
    messages: Sender<Message>,
    status: Arc<SharedStatus>,
    writer: Arc<Mutex<Option<WriterThread>>>,
}

type WriterThread = JoinHandle<Result<(), LedgerError>>;

/// What the ledger notes of this process.
#[derive(Clone, Debug)]
pub struct LedgerConfig {
    /// Where to write.
    pub location: Location,
    /// What the base model is called.
    pub model: String,
    /// This program's version.
    pub version: String,
    /// What the machine costs, where that is known.
    pub price: Option<HourlyPrice>,
    /// When the process began, in microseconds since 1970.
    pub started_us: i64,
}

/// Room for one row. Dropping it unused frees it.
pub struct Place {
    messages: Sender<Message>,
    status: Arc<SharedStatus>,
    is_used: bool,
}

impl Ledger {
    /// A row waits this long at most before it is written.
    pub const FLUSH_INTERVAL: Duration = Duration::from_millis(250);
    /// So many rows are written without waiting.
    pub const BATCH_ROWS: usize = 512;
    /// Without rows, the device's time is still noted this often.
    pub const HEARTBEAT: Duration = Duration::from_secs(1);
    /// Rows that may wait, and requests that may be on their way to one.
    pub const PLACES: usize = 65_536;

    /// Opens the ledger, makes it where there is none, and starts the writer. `device` tells the
    /// device's time as of now; the writer asks at every flush.
    ///
    /// # Errors
    /// The database cannot be opened, is something else's, or of a newer schema.
    pub fn open(
        config: LedgerConfig,
        device: impl Fn() -> DeviceSeconds + Send + 'static,
    ) -> Result<Self, LedgerError> {
        let store = store::open(&config.location, Access::Write)?;
        Self::start(store, config, Self::PLACES, Box::new(device))
    }

    /// Whether a ledger could be opened there: worth knowing before a model is loaded.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn check(location: &Location) -> Result<(), LedgerError> {
        store::open(location, Access::Write).map(drop)
    }

    pub(crate) fn start(
        mut store: Box<dyn Store>,
        config: LedgerConfig,
        places: usize,
        device: Box<dyn Fn() -> DeviceSeconds + Send>,
    ) -> Result<Self, LedgerError> {
        let run = store.begin(&Run {
            started_us: config.started_us,
            model: config.model,
            version: config.version,
            price_per_hour_usd: config.price.map(|price| price.usd().to_string()),
        })?;
        let (messages, inbox) = mpsc::channel();
        let status = Arc::new(SharedStatus::new(places));
        let writer = Writer::new(store, run, config.started_us, device, status.clone());
        let thread = std::thread::Builder::new()
            .name("ledger".to_owned())
            .spawn(move || writer.run(&inbox))
            .map_err(LedgerError::Thread)?;
        Ok(Self {
            messages,
            status,
            writer: Arc::new(Mutex::new(Some(thread))),
        })
    }

    /// Room for a row that will be recorded later; none while all of it is taken.
    pub fn place(&self) -> Option<Place> {
        self.status.take_place().then(|| Place {
            messages: self.messages.clone(),
            status: self.status.clone(),
            is_used: false,
        })
    }

    /// How it is doing.
    pub fn status(&self) -> LedgerStatus {
        self.status.get().clone()
    }

    /// Waits for the rows of all places that are taken, writes what waits, notes that this run
    /// ended in order, and ends the writer; all that within `patience`. Where the database does
    /// not take the rows by then, they go into the log, one by one. Closing again does nothing.
    ///
    /// # Errors
    /// Rows were left over.
    pub fn close(&self, patience: Duration) -> Result<(), LedgerError> {
        let thread = self
            .writer
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        let Some(thread) = thread else { return Ok(()) };
        let until = Instant::now() + patience;
        // A writer that is gone has told why in the log.
        let _ = self.messages.send(Message::Close { until });
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
    /// Hands the row over. This neither waits nor touches the database.
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
        if !self.is_used {
            self.status.free_places(1);
        }
    }
}

#[cfg(test)]
mod tests;
