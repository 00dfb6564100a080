//! What the tests of several crates share. Only dev-dependencies point here.

#![allow(
    clippy::unwrap_used,
    reason = "a test ends where its preparation fails"
)]

mod random_adapter;
mod tiny_llama;

pub use random_adapter::RandomAdapter;
pub use tiny_llama::tiny_llama;
