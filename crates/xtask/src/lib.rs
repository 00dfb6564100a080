//! Sweeps: tidy checks, fixtures, reports.

pub mod tidy;
