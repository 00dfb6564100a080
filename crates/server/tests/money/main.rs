//! The subcommands about money, run as a user runs them.

#![allow(clippy::unwrap_used, clippy::panic, unreachable_pub)]

mod acceptance;
mod compare;
mod price;
mod tco;

use std::process::{Command, Output};

/// Runs `farthing` with these words.
fn farthing(words: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_farthing"))
        .args(words)
        .output()
        .unwrap()
}

/// What it prints; it must succeed.
fn printed(words: &[&str]) -> String {
    let output = farthing(words);
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{words:?}: {told}");
    String::from_utf8(output.stdout).unwrap()
}

/// What it complains of; it must fail without a panic.
fn complaint(words: &[&str]) -> String {
    let output = farthing(words);
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success(), "{words:?} succeeds");
    assert!(output.stdout.is_empty(), "{words:?} prints something");
    assert!(!told.contains("panicked"), "{told}");
    told
}

/// What it prints, as JSON.
fn json(words: &[&str]) -> serde_json::Value {
    serde_json::from_str(&printed(&[words, &["--json"]].concat())).unwrap()
}
