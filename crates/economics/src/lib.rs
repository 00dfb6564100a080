//! Turns seconds and prices into money.
//!
//! Money is decimal from here to the wire; a float comes in only as measured seconds.

mod cost;
mod hourly_price;
mod unit_cost;

pub use cost::{Basis, Cost, CostError};
pub use hourly_price::{HourlyPrice, PriceError};
pub use unit_cost::{MachineTime, TokenWork, UnitCost, UnitCosts};
