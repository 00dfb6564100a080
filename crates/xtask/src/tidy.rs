//! The rules of the house that no compiler knows, checked by reading the tree.

use std::fmt;
use std::path::Path;

use anyhow::Result;

mod arrows;
mod habits;
mod inlining;
mod op_names;
mod private_names;
mod rooms;
mod shape;
mod source;

use source::Tree;

/// Reads the tree under `root`, the top of the workspace, and holds every rule against it.
///
/// # Errors
/// A file or folder cannot be read, or `root` has no `crates` folder.
pub fn check(root: &Path) -> Result<Report> {
    let tree = Tree::read(root)?;
    let mut findings = Vec::new();
    arrows::check(&tree, &mut findings);
    rooms::check(&tree, &mut findings);
    habits::check(&tree, &mut findings);
    inlining::check(&tree, &mut findings);
    op_names::check(&tree, &mut findings);
    shape::check(&tree, &mut findings);
    private_names::check(&tree, &mut findings);
    findings.sort();
    Ok(Report {
        findings,
        files: tree.files().len(),
    })
}

/// What a reading found.
#[derive(Debug)]
pub struct Report {
    /// In the order of their places.
    pub findings: Vec<Finding>,
    /// How many files were read.
    pub files: usize,
}

/// Something that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finding {
    /// From the root, with `/`.
    pub path: String,
    /// From 1; 0 stands for the file as a whole.
    pub line: usize,
    /// What to do about it.
    pub message: String,
    /// Whether it breaks a rule; the others are only worth a look.
    pub is_error: bool,
}

impl Report {
    /// Whether no rule is broken.
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
