//! Why a key is refused, or a key file.

use std::io;
use std::path::PathBuf;

use jiff::Timestamp;

/// Why a caller's key is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RefusedKey {
    /// No key has this text.
    #[error("Incorrect API key provided.")]
    Unknown,
    /// It was revoked.
    #[error("This API key was revoked.")]
    Revoked,
    /// It is not accepted any more.
    #[error("This API key expired at {0}.")]
    Expired(Timestamp),
}

/// Why a key file cannot be read or changed.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    /// It cannot be read or written.
    #[error("{}: {error}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why not.
        error: io::Error,
    },
    /// It is no regular file of at most 16 MiB.
    #[error("{}: no regular file of at most 16 MiB", path.display())]
    NotAKeyFile {
        /// The file.
        path: PathBuf,
    },
    /// It is no TOML, or a field is wrong.
    #[error("{}: {message}", path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// What is wrong, and where.
        message: String,
    },
    /// The file already has a key of this name.
    #[error("a key named {0:?} exists already: choose another name, or revoke it first")]
    NameTaken(String),
    /// The file has no such key.
    #[error("no key that is not revoked has the name or id {0:?}")]
    NoSuchKey(String),
}
