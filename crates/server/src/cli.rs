//! The command line: one file per subcommand.

pub(crate) mod args;

pub mod bench;
pub mod check_config;
pub mod compare;
pub mod experiment;
pub mod inspect;
pub mod keys;
pub mod ledger;
pub mod price;
pub mod render;
pub mod replay;
pub mod selftest;
pub mod tco;

mod figure;
mod fleet_args;
pub(crate) mod ledger_arg;
mod output;
mod price_source;
pub(crate) mod values;
