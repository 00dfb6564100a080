//! What can go wrong with a ledger.

use crate::Location;

/// Why the ledger cannot be opened, written or read.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// The file or the server cannot be reached, or is no ledger.
    #[error("cannot open the ledger {location}: {reason}")]
    Open {
        /// Which.
        location: Location,
        /// In the database's words.
        reason: String,
    },
    /// A newer Farthing has written there.
    #[error(
        "the ledger {location} has the schema {found}, and this Farthing knows only up to {known}: \
         use a newer Farthing"
    )]
    TooNew {
        /// Which.
        location: Location,
        /// Its schema's version.
        found: i64,
        /// The newest known here.
        known: i64,
    },
    /// SQLite says no.
    #[error("the ledger's SQLite file: {0}")]
    Sqlite(#[from] rusqlite::Error),
    /// PostgreSQL says no.
    #[error("the ledger's PostgreSQL: {}", told(.0))]
    Postgres(#[from] postgres::Error),
    /// The operating system refused a thread.
    #[error("cannot start the ledger's writer: {0}")]
    Thread(std::io::Error),
    /// Rows that could not be written before the time was up.
    #[error("{rows} rows of the ledger could not be written: {reason}")]
    Unwritten {
        /// How many.
        rows: usize,
        /// The last error.
        reason: String,
    },
    /// A window that the ledger cannot tell of.
    #[error("{0}")]
    Window(String),
    /// A stored value makes no sense.
    #[error("the ledger holds {0}")]
    Corrupt(String),
    /// The CSV cannot be written.
    #[error("cannot write the CSV: {0}")]
    Csv(#[from] csv::Error),
    /// The Parquet file cannot be written.
    #[error("cannot write the Parquet file: {0}")]
    Parquet(#[from] parquet::errors::ParquetError),
    /// Output failed.
    #[error("cannot write the export: {0}")]
    Output(#[from] std::io::Error),
}

/// PostgreSQL's own message and detail: the crate's text is only "db error".
pub(crate) fn told(error: &postgres::Error) -> String {
    match error.as_db_error() {
        Some(from_server) => from_server.to_string(),
        None => {
            let cause = std::error::Error::source(error);
            cause.map_or_else(|| error.to_string(), |cause| format!("{error}: {cause}"))
        }
    }
}
