//! Checks that documentation and comments avoid phrases of the project's former private dialect.

use super::Finding;
use super::source::{SourceFile, Tree};

/// Phrases that must not occur, in lower case, and what to write in their place. They are in two
/// parts where this file's own comments would not pass otherwise.
const PHRASES: &[(&str, &str)] = &[
    ("reckon", "compute, or calculate"),
    ("tells", "returns, reports, shows, or names"),
    ("so many", "the number, by its name"),
    ("none where", "`None` if"),
    ("one's own", "own, or the name of the owner"),
    ("is of one generation", "uses one generation"),
    ("who waits", "waiting sequences, or requests"),
    ("is nowhere", "is freed, or deleted"),
    ("through which nothing goes", "which is not used yet"),
    ("still in row_state", "still in flight"),
];
/// Comments that must not stand alone, since they do not say what they are about.
const ALONE: &[&str] = &["whom.", "the model's."];

pub(super) fn check(tree: &Tree, findings: &mut Vec<Finding>) {
    let files = tree.files().iter();
    for file in files.filter(|file| !is_exempt(file)) {
        if file.extension() == "rs" {
            for (line, comment) in file.comments() {
                check_prose(file, line, comment, findings);
            }
        } else if ["md", "py"].contains(&file.extension()) {
            for (line, text) in (1..).zip(file.text.lines()) {
                check_prose(file, line, text, findings);
            }
        }
    }
}

/// Results are records of what programs printed.
fn is_exempt(file: &SourceFile) -> bool {
    file.path.starts_with("benches/results/")
}

fn check_prose(file: &SourceFile, line: usize, text: &str, findings: &mut Vec<Finding>) {
    let text = text.to_lowercase();
    for (phrase, instead) in PHRASES {
        let is_word_start = |at: usize| !text[..at].ends_with(char::is_alphanumeric);
        if text.match_indices(phrase).any(|(at, _)| is_word_start(at)) {
            let message = format!("`{phrase}` is hard to read: write {instead}");
            findings.push(Finding::error(&file.path, line, message));
        }
    }
    let words = text.trim_start_matches(['/', '!', ' ']).trim_end();
    if ALONE.contains(&words) {
        let message = format!("`{words}` does not say what it is about: write a sentence");
        findings.push(Finding::error(&file.path, line, message));
    }
}
