//! Records every attempt: in SQLite by default, in PostgreSQL for several replicas.
//!
//! There is one row per request. Beside the rows, the device time by use is recorded for every
//! minute, so that a window's invoice can be computed and checked from the ledger alone.
//!
//! ```text
//! Ledger (any thread) ── channel ──► writer (one thread) ──► Store: SQLite │ PostgreSQL
//!                                                             ▲
//! LedgerReader: usage, invoice, export ───────────────────────┘
//! ```

mod entry;
mod location;
mod picosecond_sum;
mod picoseconds;
mod window;

mod device_minutes;
mod ledger;
mod status;
mod writer;

mod export;
mod invoice;
mod reader;
mod runs;
mod usage;

mod error;
mod schema;
mod store;

pub use device_minutes::DeviceSeconds;
pub use entry::{LedgerEntry, Outcome};
pub use error::LedgerError;
pub use export::ExportFormat;
pub use invoice::{Invoice, InvoiceLine, Item};
pub use ledger::{Ledger, LedgerConfig, Place};
pub use location::Location;
pub use picoseconds::Picoseconds;
pub use reader::{Groups, LedgerReader};
pub use status::LedgerStatus;
pub use usage::{Charge, Filter, GroupBy, GroupKey, Usage};
pub use window::Window;
