//! The source tree as text.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};

mod pieces;

use pieces::{Kind, pieces};

/// Folders that are not part of the sources. In a worktree of git, `.git` is a file.
const SKIPPED: [&str; 8] = [
    ".git",
    "target",
    ".venv",
    "__pycache__",
    ".cache",
    ".pytest_cache",
    ".hypothesis",
    ".schemathesis",
];
/// Larger files are weights or recordings, which no rule applies to.
const LONGEST_BYTES: u64 = 2 << 20;

/// All text files under the root.
pub(super) struct Tree {
    files: Vec<SourceFile>,
}

/// One text file.
pub(super) struct SourceFile {
    /// Path from the root, with `/`.
    pub(super) path: String,
    pub(super) text: String,
    /// For a Rust file, `text` with comments, strings and characters replaced by spaces; otherwise
    /// empty.
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

    /// Whether the file is only compiled for tests, judged by its path.
    pub(super) fn is_test(&self) -> bool {
        self.path
            .split('/')
            .any(|part| part == "tests" || part == "tests.rs")
    }

    /// The lines of code, numbered from 1. Comments and contents of strings are blank.
    pub(super) fn code_lines(&self) -> impl Iterator<Item = (usize, &str)> {
        (1..).zip(self.code.lines())
    }

    /// The comments of a Rust file with their lines.
    pub(super) fn comments(&self) -> impl Iterator<Item = (usize, &str)> {
        pieces_of(&self.text, Kind::Comment)
    }

    /// The string literals of a Rust file with their lines.
    pub(super) fn strings(&self) -> impl Iterator<Item = (usize, &str)> {
        pieces_of(&self.text, Kind::Text)
    }

    /// The lines of code that contain `word` as a whole word.
    pub(super) fn lines_saying(&self, word: &str) -> impl Iterator<Item = usize> {
        self.code_lines()
            .filter(move |(_, line)| says(line, word))
            .map(|(number, _)| number)
    }
}

/// The pieces of one kind with the line that each begins on.
fn pieces_of(text: &str, kind: Kind) -> impl Iterator<Item = (usize, &str)> {
    let mut line = 1;
    pieces(text).into_iter().filter_map(move |(found, piece)| {
        let start = line;
        line += piece.matches('\n').count();
        (found == kind).then_some((start, piece))
    })
}

/// Whether `line` contains `word` as a whole word.
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
                pieces::blank(&text)
            } else {
                String::new()
            };
            files.push(SourceFile { path, text, code });
        }
    }
    Ok(())
}
