//! An adapter on this machine.

use std::path::PathBuf;

/// An adapter whose files are on this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LocalAdapter {
    /// The name that requests use for it.
    pub(crate) name: String,
    pub(crate) directory: PathBuf,
}
