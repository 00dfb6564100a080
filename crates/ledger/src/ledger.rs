//! The ledger of a running server.

use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use farthing_economics::HourlyPrice;

use crate::status::SharedStatus;
use crate::store::{self, Access, Run, Store};
use crate::writer::{self, Message, Writer};
use crate::{DeviceSeconds, LedgerEntry, LedgerError, LedgerStatus, Location};

/// Records one row per attempt. One thread writes all rows. Cheap to clone.
///
/// Rows are written in batches: every [`FLUSH_INTERVAL`](Ledger::FLUSH_INTERVAL), or as soon as
/// [`BATCH_ROWS`](Ledger::BATCH_ROWS) are waiting. A process that is killed loses at most the
/// waiting rows; one that ends with [`close`](Ledger::close) loses none.
///
/// Memory is bounded by places. A request takes a place before it begins, so that no work is done
/// that could not be recorded. While the database is slow or unreachable, rows wait in their places
/// and flushes are retried; when all places are taken, no new request can begin.
#[derive(Clone)]
pub struct Ledger {
    messages: Sender<Message>,
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
        })
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
        if !self.is_used {
            self.status.free_places(1);
        }
    }
}

#[cfg(test)]
mod tests;
