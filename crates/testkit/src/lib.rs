//! What the tests of several crates share. Only dev-dependencies point here.

#![allow(
    clippy::unwrap_used,
    reason = "a test ends where its preparation fails"
)]

mod cached_gguf;
mod random_adapter;
mod tiny_llama;

pub use cached_gguf::cached_gguf;
pub use random_adapter::RandomAdapter;
pub use tiny_llama::tiny_llama;
