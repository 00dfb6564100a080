//! One suite, both databases.

#![allow(clippy::unwrap_used, clippy::panic, unreachable_pub)]

mod databases;
mod samples;

mod experiment;
mod export;
mod files;
mod invoices;
mod kill;
mod notes;
mod rows;
mod schema;
mod silence;
mod usage;
mod vendors;
