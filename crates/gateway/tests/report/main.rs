//! The report of an experiment, from ledgers that are made up.

#![allow(clippy::unwrap_used, clippy::panic)]

mod book;

mod behaviour;
mod reference;
mod rendering;
mod spec;
