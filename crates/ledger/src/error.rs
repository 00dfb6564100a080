//! Errors of the ledger.

use std::path::PathBuf;

use crate::Location;

/// Why the ledger cannot be opened, written or read.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// The database cannot be reached, or is not a ledger.
    #[error("cannot open the ledger {location}: {reason}")]
    Open {
        /// The ledger.
        location: Location,
        /// The database's message.
        reason: String,
    },
    /// The ledger was written by a newer Farthing.
    #[error(
        "the ledger {location} has schema version {found}, but this Farthing supports at most {known}: \
         use a newer Farthing"
    )]
    TooNew {
        /// The ledger.
        location: Location,
        /// Schema version of the ledger.
        found: i64,
        /// The newest schema version that is supported.
        known: i64,
    },
    /// The database did not answer in time.
    #[error(
        "the ledger's database gave no answer for {seconds:.1} s: check that it runs and that nothing \
         holds it up (a lock, a full disk, the network)"
    )]
    NoAnswer {
        /// How long it was waited for.
        seconds: f64,
    },
    /// The ledger's file was moved, deleted or replaced while the server writes to it.
    #[error(
        "the ledger's file {} {what}: put it back. Until then rows wait, and at shutdown they are \
         written to the log", path.display()
    )]
    Lost {
        /// Where the file should be.
        path: PathBuf,
        /// What was found there.
        what: String,
    },
    /// SQLite returned an error.
    #[error("the ledger's SQLite file: {0}")]
    Sqlite(#[from] rusqlite::Error),
    /// PostgreSQL returned an error.
    #[error("the ledger's PostgreSQL: {}", describe(.0))]
    Postgres(#[from] tokio_postgres::Error),
    /// The operating system cannot start a thread, or an event loop.
    #[error("cannot start the ledger's writer: {0}")]
    Thread(std::io::Error),
    /// Rows could not be written before the deadline.
    #[error("{rows} rows of the ledger could not be written: {reason}")]
    Unwritten {
        /// Number of rows.
        rows: usize,
        /// The last error.
        reason: String,
    },
    /// A note that someone waits for could not be written.
    #[error("the ledger cannot record it now: {reason}")]
    NotRecorded {
        /// Why.
        reason: String,
    },
    /// Feedback names a request that is not in the ledger.
    #[error("there is no request {request_id:?} in the ledger: send the id of an answer")]
    UnknownRequest {
        /// The id that was given.
        request_id: String,
    },
    /// A value that cannot be recorded.
    #[error("{0}")]
    Value(String),
    /// The window is invalid.
    #[error("{0}")]
    Window(String),
    /// A stored value is invalid.
    #[error("the ledger holds {0}")]
    Corrupt(String),
    /// The CSV cannot be written.
    #[error("cannot write the CSV: {0}")]
    Csv(#[from] csv::Error),
    /// The Parquet file cannot be written.
    #[error("cannot write the Parquet file: {0}")]
    Parquet(#[from] parquet::errors::ParquetError),
    /// The output cannot be written.
    #[error("cannot write the export: {0}")]
    Output(#[from] std::io::Error),
}

/// PostgreSQL's own message and detail. The crate's text is only "db error".
pub(crate) fn describe(error: &tokio_postgres::Error) -> String {
    match error.as_db_error() {
        Some(from_server) => from_server.to_string(),
        None => {
            let cause = std::error::Error::source(error);
            cause.map_or_else(|| error.to_string(), |cause| format!("{error}: {cause}"))
        }
    }
}
