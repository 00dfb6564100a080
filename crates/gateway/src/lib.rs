//! Which arm answers a request, and what the comparison of arms shows.
//!
//! A [`Route`] is a model name that clients use. It has [`Arm`]s: models of this server and of vendors.
//! A request's [`Unit`] (user, session, key or request) is assigned to an arm by a hash, unless a
//! [`Rule`] sends the request to one. [`RoutesFile`] reads all of it from TOML. This part is pure: the
//! same request, file and weights give the same arm.
//!
//! ```text
//! ExperimentSpec (TOML) ─┐
//! LedgerReader ──────────┴► Report: figures, intervals, verdict ─► JSON │ text │ HTML
//! ```

mod arm;
mod assignment;
mod check;
mod facts;
mod judge;
mod ramp;
mod route;
mod rule;
mod shadow;
mod unit;

mod routes_error;
mod routes_file;

mod experiment_spec;
mod report;

pub use arm::{Arm, Target};
pub use assignment::assign;
pub use check::{Check, CheckOutcome};
pub use experiment_spec::{
    Design, ExperimentSpec, GuardrailAct, GuardrailSpec, GuardrailSpecs, Quality, QualitySource,
    SpecError,
};
pub use facts::{RequestFacts, Situation};
pub use judge::Judge;
pub use ramp::Ramp;
pub use report::{Report, ReportError, Split};
pub use route::{Fallback, FallbackReason, Route};
pub use routes_error::RoutesError;
pub use routes_file::{RoutesFile, VendorEntry};
pub use rule::Rule;
pub use shadow::Shadow;
pub use unit::{Unit, UnitKind, UnitSources};
