//! Whether a file has changed since it was read.

use std::fs;
use std::path::Path;
use std::time::SystemTime;

/// What changes when a file does. Such a file is replaced, never written in place, so its time of change and its
/// length say enough.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FileVersion {
    modified: SystemTime,
    length: u64,
}

impl FileVersion {
    /// The version of a file now; `None` if there is none.
    pub(crate) fn of(file: &Path) -> Option<Self> {
        let metadata = fs::metadata(file).ok()?;
        Some(Self {
            modified: metadata.modified().ok()?,
            length: metadata.len(),
        })
    }
}
