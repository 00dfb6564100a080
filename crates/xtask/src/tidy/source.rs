//! The tree as text.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};

mod blank;

/// Folders that hold nothing we wrote; in a worktree of git `.git` is a file.
const SKIPPED: [&str; 6] = [
    ".git",
    "target",
    ".venv",
    "__pycache__",
    ".cache",
    ".pytest_cache",
];
/// Larger files are weights or recordings, which no rule is about.
const LONGEST_BYTES: u64 = 2 << 20;

/// Every text file under the root.
pub(super) struct Tree {
    files: Vec<SourceFile>,
}

/// One text file.
pub(super) struct SourceFile {
    /// From the root, with `/`.
    pub(super) path: String,
    pub(super) text: String,
    /// Of a Rust file, `text` with comments, strings and characters blanked out; else empty.
    code: String,
}

impl Tree {
    pub(super) fn read(root: &Path) -> Result<Self> {
        ensure!(
            root.join("crates").is_dir(),
            "{} has no `crates` folder: run this from the top of the workspace",
            root.display()
        );
        let mut files = Vec::new();
        read_folder(root, "", &mut files)?;
        files.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(Self { files })
    }

    pub(super) fn files(&self) -> &[SourceFile] {
        &self.files
    }

    pub(super) fn has(&self, path: &str) -> bool {
        self.files
            .binary_search_by(|file| file.path.as_str().cmp(path))
            .is_ok()
    }

    pub(super) fn rust_files(&self) -> impl Iterator<Item = &SourceFile> {
        self.files.iter().filter(|file| file.extension() == "rs")
    }
}

impl SourceFile {
    pub(super) fn extension(&self) -> &str {
        self.file_name()
            .rsplit_once('.')
            .map_or("", |(_, extension)| extension)
    }

    pub(super) fn file_name(&self) -> &str {
        self.path.rsplit('/').next().unwrap_or_default()
    }

    /// The file's name up to the first dot.
    pub(super) fn stem(&self) -> &str {
        self.file_name().split('.').next().unwrap_or_default()
    }

    /// Whether it is only compiled for tests, as far as its place tells.
    pub(super) fn is_test(&self) -> bool {
        self.path
            .split('/')
            .any(|part| part == "tests" || part == "tests.rs")
    }

    /// Lines of code, numbered from 1; comments and the insides of strings are blank.
    pub(super) fn code_lines(&self) -> impl Iterator<Item = (usize, &str)> {
        (1..).zip(self.code.lines())
    }

    /// The lines on which `word` stands in code, with no letter, digit or underscore beside it.
    pub(super) fn lines_saying(&self, word: &str) -> impl Iterator<Item = usize> {
        self.code_lines()
            .filter(move |(_, line)| says(line, word))
            .map(|(number, _)| number)
    }
}

/// Whether `word` stands in `line` on its own.
fn says(line: &str, word: &str) -> bool {
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(word).any(|(start, _)| {
        !line[..start].ends_with(is_part) && !line[start + word.len()..].starts_with(is_part)
    })
}

fn read_folder(folder: &Path, prefix: &str, files: &mut Vec<SourceFile>) -> Result<()> {
    let entries = fs::read_dir(folder).with_context(|| format!("reading {}", folder.display()))?;
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let path = format!("{prefix}{name}");
        let kind = entry.file_type()?;
        if SKIPPED.contains(&name.as_str()) {
            continue;
        }
        if kind.is_dir() {
            read_folder(&entry.path(), &format!("{path}/"), files)?;
        } else if kind.is_file() && entry.metadata()?.len() <= LONGEST_BYTES {
            let bytes = fs::read(entry.path()).with_context(|| format!("reading {path}"))?;
            let Ok(text) = String::from_utf8(bytes) else {
                continue;
            };
            let code = if path.ends_with(".rs") {
                blank::blank(&text)
            } else {
                String::new()
            };
            files.push(SourceFile { path, text, code });
        }
    }
    Ok(())
}
