//! Attempts at small vendors on real sockets.

#![allow(clippy::unwrap_used, clippy::panic)]

mod anthropic;
mod clocks;
mod configuration;
mod cooling;
mod fake_vendor;
mod google;
mod isolation;
mod leaving;
mod official_clients;
mod openai;
mod original_chat;
mod pricing;
mod setup;
mod spending;
