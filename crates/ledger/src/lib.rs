//! Records every attempt: in SQLite by default, in PostgreSQL for several replicas.
//!
//! There is one row per attempt at answering a request. Beside the rows, the device time by use is recorded for every
//! minute, so that a window's invoice can be computed and checked from the ledger alone.
//!
//! ```text
//! Ledger (any thread) ── channel ──► writer (one thread) ──► Store: SQLite │ PostgreSQL
//!                                                             ▲
//! LedgerReader: usage, invoice, export ───────────────────────┘
//! ```

mod bill;
mod bill_columns;
mod entry;
mod location;
mod note;
mod picosecond_sum;
mod picoseconds;
mod routing;
mod vendor_charge;
mod window;

mod device_minutes;
mod ledger;
mod pending_notes;
mod status;
mod writer;

mod experiment_rows;
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
pub use experiment_rows::{AssignedAttempt, AssignedRequest, AssignedTo, ExperimentRows};
pub use export::ExportFormat;
pub use invoice::{DeviceUse, Invoice, InvoiceLine, Item, VendorLine};
pub use ledger::{Ledger, LedgerConfig, Place};
pub use location::Location;
pub use note::{Assignment, DecidedVerdict, Feedback, FeedbackChange};
pub use picoseconds::Picoseconds;
pub use reader::{Groups, LedgerReader};
pub use routing::{AssignedArm, Role, Routing};
pub use status::LedgerStatus;
pub use usage::{Charge, Filter, GroupBy, GroupKey, Usage};
pub use vendor_charge::{ChargeBasis, VendorBills, VendorCharge};
pub use window::Window;
