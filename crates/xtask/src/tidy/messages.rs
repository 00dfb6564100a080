//! Checks that libraries do not name command-line flags: only the command line knows its flags.

use super::Finding;
use super::source::{SourceFile, Tree};

/// Crates and folders that are command lines.
const COMMAND_LINES: [&str; 4] = [
    "crates/server/src/cli/",
    "crates/server/src/startup/",
    "crates/server/src/main.rs",
    "crates/xtask/",
];
/// Other programs, whose flags a message may name.
const OTHER_PROGRAMS: [&str; 2] = ["cargo ", "llama-gguf-split "];
/// Files that run another program, and so have its flags.
const RUNS_A_PROGRAM: [&str; 1] = ["crates/server/src/models/pypi.rs"];

pub(super) fn check(tree: &Tree, findings: &mut Vec<Finding>) {
    for file in tree.rust_files().filter(|file| is_library(file)) {
        for (line, text) in file.strings() {
            let names_program = OTHER_PROGRAMS.iter().any(|program| text.contains(program));
            if let Some(flag) = flag_in(text).filter(|_| !names_program) {
                let message = format!(
                    "`{flag}` is a flag of the command line: name the setting, and let the \
                     command line name its flag"
                );
                findings.push(Finding::error(&file.path, line, message));
            }
        }
    }
}

fn is_library(file: &SourceFile) -> bool {
    let starts = |folder: &&str| file.path.starts_with(*folder);
    file.path.starts_with("crates/")
        && file.path.contains("/src/")
        && !file.is_test()
        && !COMMAND_LINES.iter().any(starts)
        && !RUNS_A_PROGRAM.iter().any(starts)
}

/// The first word of the form `--flag`.
fn flag_in(text: &str) -> Option<&str> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '-';
    text.match_indices("--").find_map(|(start, _)| {
        let flag = &text[start..];
        let flag = &flag[..flag.find(|c| !is_part(c)).unwrap_or(flag.len())];
        let is_flag = flag[2..].starts_with(|c: char| c.is_ascii_lowercase());
        // In CSS, `--name` is a variable.
        let is_css = text[..start].ends_with("var(") || text[start + flag.len()..].starts_with(':');
        (is_flag && !is_css && !text[..start].ends_with(is_part)).then_some(flag)
    })
}
