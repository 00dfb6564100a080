//! Which file a path names.

use std::fs::{self, Metadata};
use std::io;
use std::path::{Path, PathBuf};

/// A file, however it is named. Two paths with the same identity name the same file, and a path that
/// changes its identity names another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FileIdentity {
    device: u64,
    inode: u64,
}

impl FileIdentity {
    /// The file at `path`; `None` if there is none.
    pub(super) fn of(path: &Path) -> io::Result<Option<Self>> {
        match fs::metadata(path) {
            Ok(metadata) => Ok(Some(Self::new(&metadata))),
            Err(error) if is_missing(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    #[cfg(unix)]
    fn new(metadata: &Metadata) -> Self {
        use std::os::unix::fs::MetadataExt;
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
        }
    }

    /// Without identities only a missing file is noticed.
    #[cfg(not(unix))]
    fn new(_: &Metadata) -> Self {
        Self {
            device: 0,
            inode: 0,
        }
    }
}

fn is_missing(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    )
}

/// The files of an open SQLite database: the database, its write-ahead log, and the index of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct OpenFiles {
    pub database: Option<FileIdentity>,
    pub log: Option<FileIdentity>,
    pub index: Option<FileIdentity>,
}

impl OpenFiles {
    pub(super) fn at(database: &Path) -> io::Result<Self> {
        Ok(Self {
            database: FileIdentity::of(database)?,
            log: FileIdentity::of(&beside(database, "-wal"))?,
            index: FileIdentity::of(&beside(database, "-shm"))?,
        })
    }
}

/// The file that SQLite puts beside a database under its name with a suffix.
pub(super) fn beside(database: &Path, suffix: &str) -> PathBuf {
    let mut name = database.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}
