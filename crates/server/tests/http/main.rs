//! Raw bytes on a real port, against an engine that plays what each test scripts.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod scripted_engine;
mod wire;

mod chat;
mod completions;
mod departures;
mod metrics;
mod probes;
mod refusals;
mod shutdown;
