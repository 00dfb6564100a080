//! Sweeps: tidy checks, price books.

pub mod prices;
pub mod tidy;
