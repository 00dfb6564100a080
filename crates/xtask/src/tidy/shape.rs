//! Checks names and lengths of files.

use super::Finding;
use super::source::Tree;

/// Names of files and folders that have no meaning.
const EMPTY_NAMES: [&str; 7] = [
    "util", "utils", "common", "helper", "helpers", "misc", "stuff",
];
const SOURCES: [&str; 4] = ["rs", "py", "cu", "sh"];
/// Kernel headers contain what no single kernel owns, so `common.cuh` is allowed.
const NAMED: [&str; 3] = ["rs", "py", "sh"];

/// Above this, a file gets a note.
const LONG_LINES: usize = 400;
/// Above this, a file must be divided.
const TOO_LONG_LINES: usize = 600;
/// Flat tables, whose length is not limited.
const FLAT: [&str; 0] = [];

pub(super) fn check(tree: &Tree, findings: &mut Vec<Finding>) {
    for file in tree.files() {
        if NAMED.contains(&file.extension()) {
            let folders = file.path.split('/').rev().skip(1);
            for name in folders
                .chain([file.stem()])
                .filter(|name| EMPTY_NAMES.contains(name))
            {
                let message = format!("`{name}` is no subject: name it after what it holds");
                findings.push(Finding::error(&file.path, 0, message));
            }
        }
        if SOURCES.contains(&file.extension()) && !FLAT.contains(&file.path.as_str()) {
            let lines = file.text.lines().count();
            if lines > TOO_LONG_LINES {
                let message = format!("{lines} lines are more than {TOO_LONG_LINES}: divide it");
                findings.push(Finding::error(&file.path, 0, message));
            } else if lines > LONG_LINES {
                let message = format!("{lines} lines: has it two subjects?");
                findings.push(Finding::note(&file.path, message));
            }
        }
    }
}
