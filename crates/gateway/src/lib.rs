//! Which arm answers a request.
//!
//! A [`Route`] is a model name that clients use. It has [`Arm`]s: models of this server and of vendors.
//! A request's [`Unit`] (user, session, key or request) is assigned to an arm by a hash, unless a
//! [`Rule`] sends the request to one. [`RoutesFile`] reads all of it from TOML.
//!
//! Everything here is pure: the same request, file and weights give the same arm.

mod arm;
mod assignment;
mod check;
mod facts;
mod judge;
mod ramp;
mod route;
mod routes_error;
mod routes_file;
mod rule;
mod shadow;
mod unit;

pub use arm::{Arm, Target};
pub use assignment::assign;
pub use check::{Check, CheckOutcome};
pub use facts::{RequestFacts, Situation};
pub use judge::Judge;
pub use ramp::Ramp;
pub use route::{Fallback, FallbackReason, Route};
pub use routes_error::RoutesError;
pub use routes_file::{RoutesFile, VendorEntry};
pub use rule::Rule;
pub use shadow::Shadow;
pub use unit::{Unit, UnitKind, UnitSources};
