//! Checks that no crate uses types that belong to another crate's subject.

use super::Finding;
use super::source::Tree;

/// A folder, the words that its code must not contain, and why.
const ROOMS: &[(&str, &[&str], &str)] = &[
    (
        "crates/api/",
        &["candle_core", "tokio", "axum"],
        "it is only words on the wire",
    ),
    (
        "crates/scheduler/",
        &[
            "std::time",
            "Instant",
            "SystemTime",
            "candle_core",
            "tokenizers",
            "rand",
        ],
        "it knows no clock, no tensor, no text and no chance",
    ),
    (
        "crates/ops/src/",
        &["tokenizers", "axum", "tokio", "rust_decimal"],
        "it knows tensors only",
    ),
    (
        "crates/model/src/",
        &["tokenizers", "minijinja", "axum", "tokio", "rust_decimal"],
        "it knows no text, no HTTP and no money",
    ),
    (
        "crates/engine/src/",
        &["rust_decimal", "axum", "candle_core"],
        "it knows no money, no HTTP, and tensors only through `model`",
    ),
    (
        "crates/economics/",
        &["f32", "candle_core", "axum", "tokio"],
        "money is decimal and pure",
    ),
    (
        "crates/experiment/src/",
        &[
            "f32",
            "std::time",
            "Instant",
            "SystemTime",
            "candle_core",
            "axum",
            "tokio",
            "rust_decimal",
        ],
        "it is statistics only: no clock, no HTTP, no tensor, and no exact money",
    ),
    (
        "crates/ledger/src/",
        &["candle_core", "axum"],
        "it knows rows only",
    ),
    (
        "crates/keys/src/",
        &["candle_core", "axum", "tokio"],
        "it knows keys and their terms only",
    ),
    (
        "crates/loadgen/src/",
        &["candle_core", "axum", "tokenizers"],
        "it is a client like any other",
    ),
    (
        "crates/selftest/src/",
        &["tokenizers", "axum", "tokio", "rust_decimal"],
        "it knows no text, no HTTP and no money",
    ),
    (
        "crates/vendors/src/",
        &[
            "candle_core",
            "axum",
            "f32",
            "farthing_engine",
            "farthing_ledger",
        ],
        "it knows one attempt at one vendor only",
    ),
    (
        "crates/gateway/src/",
        &["candle_core", "BlockId"],
        "it knows no tensor and no block",
    ),
    (
        "crates/server/src/",
        &["candle_core", "BlockId"],
        "it knows no tensor and no block",
    ),
];

/// Only these files may use the feature `cuda`.
const CUDA: &str = "feature = \"cuda\"";
const CUDA_ROOMS: [&str; 2] = ["crates/ops/", "crates/model/src/device.rs"];

pub(super) fn check(tree: &Tree, findings: &mut Vec<Finding>) {
    for file in tree.rust_files() {
        let rooms = ROOMS
            .iter()
            .filter(|(room, ..)| file.path.starts_with(room));
        for &(room, words, why) in rooms {
            for word in words {
                findings.extend(file.lines_saying(word).map(|line| {
                    let message = format!("`{word}` is not a word of {room}: {why}");
                    Finding::error(&file.path, line, message)
                }));
            }
        }
        let is_crate = file.path.starts_with("crates/") && !file.path.starts_with("crates/xtask/");
        if is_crate && !CUDA_ROOMS.iter().any(|room| file.path.starts_with(room)) {
            let lines = (1..)
                .zip(file.text.lines())
                .filter(|(_, line)| line.contains(CUDA));
            findings.extend(lines.map(|(line, _)| {
                let message = "only `ops` and `model`'s device.rs know of the feature `cuda`";
                Finding::error(&file.path, line, message)
            }));
        }
    }
}
