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
}

impl HubAdapters {
    /// Uses the same environment variables as models.
    pub(crate) fn from_env() -> Result<Self, ModelSourceError> {
        Ok(Self {
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
        let folder = match self.hub.cached(&source, Wanted::Adapter) {
            Some(folder) => Ok(folder),
            None => self
                .hub
                .fetch(&source, Wanted::Adapter, &self.cache, &|line| {
                    tracing::info!("{line}");
                }),
        };
        Some(folder)
    }
}
