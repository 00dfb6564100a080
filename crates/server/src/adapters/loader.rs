//! From an adapter's files to its weights in host memory.

use std::path::Path;
use std::sync::Arc;

use farthing_model::{Checkpoint, ComputeType, DeviceKind, LoraAdapter, LoraBase};

use super::error::AdapterError;

/// Reads adapters of one base model.
pub struct AdapterLoader {
    /// The model that they fit; its files stay open.
    pub base: Arc<Checkpoint>,
    /// The type that they compute in.
    pub compute_type: ComputeType,
    /// Where they compute.
    pub device: DeviceKind,
    /// The largest rank that is served.
    pub max_rank: usize,
}

impl AdapterLoader {
    /// Reads the adapter of a directory. Blocks: not for the async threads.
    ///
    /// # Errors
    /// Files are missing or damaged, or the adapter cannot be served exactly.
    pub fn load(&self, name: &str, directory: &Path) -> Result<LoraAdapter, AdapterError> {
        let base = LoraBase {
            checkpoint: &self.base,
            compute_type: self.compute_type,
            device: self.device,
        };
        let adapter = LoraAdapter::load(directory, base)
            .map_err(|error| AdapterError::of_files(name, &error))?;
        if adapter.rank() > self.max_rank {
            return Err(AdapterError::RankTooHigh {
                name: name.to_owned(),
                rank: adapter.rank(),
                limit: self.max_rank,
            });
        }
        Ok(adapter)
    }
}
