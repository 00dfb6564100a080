//! Checks the project's own rules by reading the source tree.

use std::fmt;
use std::path::Path;

use anyhow::Result;

mod arrows;
mod circles;
mod habits;
mod inlining;
mod messages;
mod op_names;
mod private_names;
mod retired_words;
mod rooms;
mod shape;
mod source;

use source::Tree;

/// Reads the tree under `root`, which is the root of the workspace, and checks every rule.
///
/// # Errors
/// A file or folder cannot be read, or `root` has no `crates` folder.
pub fn check(root: &Path) -> Result<Report> {
    let tree = Tree::read(root)?;
    let mut findings = Vec::new();
    arrows::check(&tree, &mut findings);
    circles::check(&tree, &mut findings);
    rooms::check(&tree, &mut findings);
    habits::check(&tree, &mut findings);
    inlining::check(&tree, &mut findings);
    messages::check(&tree, &mut findings);
    op_names::check(&tree, &mut findings);
    shape::check(&tree, &mut findings);
    private_names::check(&tree, &mut findings);
    retired_words::check(&tree, &mut findings);
    findings.sort();
    Ok(Report {
        findings,
        files: tree.files().len(),
    })
}

/// The result of a check.
#[derive(Debug)]
pub struct Report {
    /// The findings, sorted by place.
    pub findings: Vec<Finding>,
    /// Number of files read.
    pub files: usize,
}

/// A violated rule, or a note.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finding {
    /// Path from the root, with `/`.
    pub path: String,
    /// Line number from 1; 0 means the file as a whole.
    pub line: usize,
    /// What is wrong and what to do.
    pub message: String,
    /// Whether a rule is violated. Other findings are notes.
    pub is_error: bool,
}

impl Report {
    /// Whether no rule is violated.
    pub fn is_tidy(&self) -> bool {
        !self.findings.iter().any(|finding| finding.is_error)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for finding in &self.findings {
            writeln!(f, "{finding}")?;
        }
        let errors = self
            .findings
            .iter()
            .filter(|finding| finding.is_error)
            .count();
        write!(f, "tidy: {} files read, {errors} rules broken", self.files)
    }
}

impl Finding {
    fn error(path: &str, line: usize, message: impl Into<String>) -> Self {
        Self {
            path: path.to_owned(),
            line,
            message: message.into(),
            is_error: true,
        }
    }

    fn note(path: &str, message: impl Into<String>) -> Self {
        Self {
            path: path.to_owned(),
            line: 0,
            message: message.into(),
            is_error: false,
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = if self.is_error { "error" } else { "note" };
        match self.line {
            0 => write!(f, "{kind}: {}: {}", self.path, self.message),
            line => write!(f, "{kind}: {}:{line}: {}", self.path, self.message),
        }
    }
}
