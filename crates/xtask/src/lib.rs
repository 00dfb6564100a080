//! Tasks for the whole workspace: tidy checks and price books.

pub mod prices;
pub mod tidy;
