//! The scheduler's guarantees, checked with a runner that keeps its cache in a map.

#![allow(clippy::unwrap_used, clippy::panic, unreachable_pub)]

mod fake_runner;
mod simulation;

mod admission;
mod ends;
mod fairness;
mod prefix_cache;
mod properties;
mod short_lane;
mod traces;
