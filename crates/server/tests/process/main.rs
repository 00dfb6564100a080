//! The binary as its operator sees it: signals, start lines, log and files.

#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::panic, unreachable_pub)]

#[path = "../certificate/mod.rs"]
mod certificate;
mod farthing;

mod assignments;
mod full_disk;
mod output;
mod signals;
mod terminal;
mod tls;
