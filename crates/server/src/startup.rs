//! From the command line to a running server.

pub(crate) mod config;
pub(crate) mod run;
mod start;

mod books;
mod dummy_tokenizer;
mod free_memory;
mod memory;
mod open_files;
mod opened_model;
mod reserved;
mod serving;
mod signals;
mod start_adapters;
mod step_model_cache;
mod text;

mod banner;
