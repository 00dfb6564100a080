//! From the command line to a running server.

pub(crate) mod config;
pub(crate) mod run;
mod start;

mod books;
mod dummy_tokenizer;
mod end_tokens;
mod free_memory;
mod generation_config;
mod memory;
mod open_files;
mod opened_model;
mod reserved;
mod serving;
mod signals;
mod start_adapters;
mod step_model_cache;
pub(crate) mod text;

mod banner;
