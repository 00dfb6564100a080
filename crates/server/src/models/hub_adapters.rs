//! Adapters on the Hugging Face hub.

use std::path::PathBuf;

use super::cache::Cache;
use super::error::ModelSourceError;
use super::hub::{Hub, HubSource, Wanted};

/// The hub as a source of adapters.
#[derive(Clone, Debug)]
pub(crate) struct HubAdapters {
    pub(super) hub: Hub,
    pub(super) cache: Cache,
    /// Larger files are not downloaded.
    pub(super) max_file_bytes: u64,
}

impl HubAdapters {
    /// Uses the same environment variables as models. Adapters take at most `memory_bytes` in memory.
    pub(crate) fn from_env(memory_bytes: usize) -> Result<Self, ModelSourceError> {
        Ok(Self {
            // A file may have its numbers twice as long.
            max_file_bytes: 2 * memory_bytes as u64,
            hub: Hub::from_env(),
            cache: Cache::from_env()?,
        })
    }

    /// The directory that contains all files from the hub.
    pub(crate) fn root(&self) -> PathBuf {
        let root = self.hub.cache.path();
        root.canonicalize().unwrap_or_else(|_| root.clone())
    }

    /// The directory of the adapter with this hub id, downloaded if necessary; `None` if `id` is
    /// not a hub id. This blocks.
    ///
    /// # Errors
    /// The hub cannot be reached or has no such adapter.
    pub(crate) fn get(&self, id: &str) -> Option<Result<PathBuf, ModelSourceError>> {
        let source = HubSource::parse(id, None)?;
        let folder = match self.hub.cached(&source, self.wanted()) {
            Some(folder) => Ok(folder),
            None => self
                .hub
                .fetch(&source, self.wanted(), &self.cache, &|line| {
                    tracing::info!("{line}");
                }),
        };
        Some(folder)
    }

    fn wanted(&self) -> Wanted {
        Wanted::Adapter {
            max_file_bytes: self.max_file_bytes,
        }
    }
}
