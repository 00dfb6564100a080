//! The path of one request: from the route to a provider and back, and its row in the ledger.

pub(crate) mod answer;
pub(crate) mod backend;
pub(crate) mod local;

pub(crate) mod account;
pub(crate) mod bookkeeper;
pub(crate) mod record;
mod row;
pub(crate) mod usage;
