//! Turns seconds and prices into money.
//!
//! Money is decimal from here to the wire; a float comes in only as measured seconds.

mod cost;
mod hourly_price;

pub use cost::{Basis, Cost, CostError};
pub use hourly_price::{HourlyPrice, PriceError};
