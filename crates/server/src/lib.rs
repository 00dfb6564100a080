//! The server behind the binary `farthing`: command line, startup, HTTP and wiring.

// `println!` panics where nothing can be written, and prints texts as they are.
#![deny(clippy::print_stdout, clippy::print_stderr)]

mod cli;
mod startup;

mod access;
mod gateway;
mod http;
mod request;

mod adapters;
mod models;
mod served_models;

mod costs;
mod machine;
mod metrics;
mod organization;

mod clock;
mod file_version;
mod lanes;
mod lifecycle;
pub mod log;
mod random;
mod reload;
mod visible;

pub use access::CallerKeys;
pub use access::caller::Caller;
pub use adapters::{
    AdapterError, AdapterLoader, AdapterSources, Adapters, AdaptersConfig, HostCapacity, NewAdapter,
};
pub use cli::args::{AdaptersCommand, Args, Command, ServeArgs};
pub use cli::{
    bench, check_config, compare, experiment, inspect, keys, ledger, price, render, replay,
    selftest, tco,
};
pub use costs::CostsConfig;
pub use http::admin_key::AdminKey;
pub use http::app::{App, AppConfig};
pub use http::cors::CorsOrigin;
pub use http::error::ApiError;
pub use http::hosts::HostName;
pub use http::serve::{ServeConfig, serve};
pub use http::timeouts::Timeouts;
pub use http::tls::{Tls, TlsError};
pub use lanes::Lanes;
pub use machine::Machine;
pub use reload::{Reload, ReloadRequests};
pub use request::backend::{Backend, Events};
pub use request::bookkeeper::Bookkeeper;
pub use request::local::{Local, SamplingDefaults};
pub use request::provider::{
    Accounts, ChatEvent, ClosedChoice, CompletionEvent, Extra, Piece, Provider, ProviderEvent,
    ProviderFuture, ProviderStream, RequestRead, TextToken,
};
pub use request::{ChoiceUsage, DeviceUsage, Phases, ProviderError, RequestContext, VendorFailure};
pub use served_models::ServedModels;
pub use startup::run::run;
