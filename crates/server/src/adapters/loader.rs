//! From an adapter's files to its weights in host memory.

use std::path::Path;
use std::sync::Arc;

use farthing_engine::ChatTemplate;
use farthing_model::{Checkpoint, ComputeType, DeviceKind, LoraAdapter, LoraBase};

use super::error::AdapterError;

/// Reads adapters of one base model.
pub struct AdapterLoader {
    /// The chat template that all chats are rendered with.
    pub chat_template: Option<String>,
    /// The base model. Its files stay open.
    pub base: Arc<Checkpoint>,
    /// The type to compute in.
    pub compute_type: ComputeType,
    /// The device to compute on.
    pub device: DeviceKind,
    /// The maximum rank.
    pub max_rank: usize,
}

impl AdapterLoader {
    /// Refuses an adapter that takes more than `limit_bytes`, without reading its weights. This blocks.
    ///
    /// # Errors
    /// It is too large, or there is none.
    pub(crate) fn check_size(
        &self,
        name: &str,
        directory: &Path,
        limit_bytes: usize,
    ) -> Result<(), AdapterError> {
        let size_bytes = LoraAdapter::least_bytes(directory, self.compute_type)
            .map_err(|error| AdapterError::of_files(name, &error))?;
        if size_bytes > limit_bytes {
            return Err(AdapterError::NoRoom {
                name: name.to_owned(),
                size_bytes,
            });
        }
        Ok(())
    }

    /// Reads the adapter in a directory. This blocks.
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
        if adapter.changes_nothing() {
            tracing::warn!(
                name,
                "all weights of this adapter are zero or the base model's: it answers as the base \
                 model does"
            );
        }
        match ChatTemplate::source_in(directory) {
            Ok(Some(own)) if Some(&own.text) != self.chat_template.as_ref() => tracing::warn!(
                name,
                path = %own.path.display(),
                "this adapter has a chat template of its own, which is not used: its chats get the \
                 server's template"
            ),
            Ok(_) => {}
            Err(error) => tracing::warn!(name, "the adapter's own chat template: {error}"),
        }
        Ok(adapter)
    }
}
