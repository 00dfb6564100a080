//! Opens the door: HTTP routes over an engine. The binary `farthing` wires it to a model.

mod args;
mod banner;
mod config;
mod dummy_tokenizer;
mod free_memory;
pub mod inspect;
mod ledger_arg;
mod ledger_command;
mod memory;
mod models;
mod run;
pub mod selftest;
mod start;
mod step_model;
mod text;

pub mod bench;
pub mod compare;
mod figure;
mod fleet_args;
pub mod price;
mod price_source;
pub mod tco;

mod admin_key;
mod app;
mod error;
mod json_body;
mod routes;
mod serve;
mod sse;

mod account;
mod adapters;
mod answer;
mod backend;
mod bookkeeper;
mod costs;
mod local;
mod machine;
mod organization;
mod record;
mod request_usage;
mod row;
mod served_models;

mod lifecycle;
mod metrics;
mod random;

pub use adapters::{
    AdapterError, AdapterLoader, AdapterSources, Adapters, AdaptersConfig, HostCapacity, NewAdapter,
};
pub use admin_key::AdminKey;
pub use app::App;
pub use args::{
    AdapterArg, AdaptersCommand, Args, Command, DeviceArg, DtypeArg, Gib, LoadFormatArg, ServeArgs,
};
pub use backend::{Backend, Events};
pub use bookkeeper::Bookkeeper;
pub use error::ApiError;
pub use fleet_args::FleetArgs;
pub use ledger_arg::LedgerArg;
pub use ledger_command::{LedgerArgs, run_ledger};
pub use local::Local;
pub use machine::Machine;
pub use price_source::PriceSourceArgs;
pub use routes::router;
pub use run::run;
pub use serve::{Timeouts, serve};
pub use served_models::ServedModels;
