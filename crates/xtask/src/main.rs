//! Sweeps: tidy checks, fixtures, reports.

fn main() {}
