//! Random inputs for whatever reads bytes of strangers. Only dev-dependencies point here.
//!
//! A [`Campaign`] makes an input, runs it, and repeats. An input is a valid document with faults in
//! it ([`mutate_bytes`], [`mutate_json`], [`mutate_text`], …), because random bytes are refused by the
//! first check.
//!
//! `cargo test` runs a fixed number of inputs, the same each time. With `FARTHING_FUZZ_SECONDS` set, a
//! campaign runs that long with other inputs each time, and ends the process if an input takes too
//! long or too much memory:
//!
//! ```text
//! FARTHING_FUZZ_SECONDS=3600 cargo test --release -p farthing-engine --test fuzz chat_template -- --nocapture
//! ```
//!
//! The input that is running is in a file, which stays there if it ends the process. `FARTHING_FUZZ_INPUT`
//! names a file to run alone.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test ends where its preparation fails"
)]

mod bytes;
mod campaign;
mod json;
mod limits;
mod random;
mod text;

pub use bytes::{mutate_bytes, mutate_lengths};
pub use campaign::Campaign;
pub use json::{mutate_json, mutate_json_value};
pub use random::Random;
pub use text::mutate_text;
