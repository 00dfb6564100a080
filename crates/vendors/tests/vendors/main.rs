//! Attempts at small vendors on real sockets.

mod fake_vendor;
mod openai;
mod setup;
