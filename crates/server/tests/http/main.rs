//! Raw bytes on a real port, against an engine that plays what each test scripts.

#![allow(clippy::unwrap_used, clippy::panic, unreachable_pub)]

#[path = "../certificate/mod.rs"]
mod certificate;
mod fake_vendor;
mod scripted_engine;
mod shelf;
mod stub_provider;
mod wire;

mod adapters;
mod bodies;
mod chat;
mod completions;
mod connections;
mod cors;
mod costs;
mod departures;
mod fallbacks;
mod hosts;
mod keys;
mod ledger;
#[cfg(unix)]
mod links;
mod metrics;
mod page;
mod probes;
mod providers;
mod refusals;
mod routes;
mod shutdown;
mod sizes;
mod tls;
mod tokens;
