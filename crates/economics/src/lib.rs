//! Turns seconds and prices into money.

mod hourly_price;

pub use hourly_price::{HourlyPrice, PriceError};
