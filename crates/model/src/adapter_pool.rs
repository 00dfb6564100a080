//! The adapters that rows of a batch may pick.

use std::collections::HashMap;

use farthing_scheduler::AdapterId;

use crate::{LoraAdapter, ModelError};

/// Adapters on the device, by what they are.
#[derive(Default)]
pub(crate) struct AdapterPool {
    adapters: HashMap<AdapterId, LoraAdapter>,
}

impl AdapterPool {
    pub(crate) fn insert(&mut self, adapter: LoraAdapter) {
        self.adapters.insert(adapter.id(), adapter);
    }

    pub(crate) fn get(&self, id: AdapterId) -> Result<&LoraAdapter, ModelError> {
        self.adapters.get(&id).ok_or(ModelError::UnknownAdapter)
    }
}
