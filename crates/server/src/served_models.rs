//! The names that requests may use as `model`.

use std::time::{SystemTime, UNIX_EPOCH};

use farthing_api::{ModelCard, ModelList};
use farthing_scheduler::AdapterId;

use crate::ApiError;

/// The base model and the adapters over it, by name.
#[derive(Clone, Debug)]
pub struct ServedModels {
    /// Names of the base model, the first of them the one that metrics use.
    base_names: Vec<String>,
    /// Where the base model comes from.
    root: String,
    adapters: Vec<ServedAdapter>,
    max_model_len: usize,
    created: u64,
}

/// An adapter that requests may name.
#[derive(Clone, Debug)]
pub struct ServedAdapter {
    /// What requests call it.
    pub name: String,
    /// The directory it was loaded from.
    pub root: String,
    /// What the engine calls it.
    pub id: AdapterId,
}

impl ServedModels {
    /// `base_names` is not empty; `max_model_len` counts tokens of prompt and answer together.
    pub fn new(
        base_names: Vec<String>,
        root: String,
        adapters: Vec<ServedAdapter>,
        max_model_len: usize,
    ) -> Self {
        Self {
            base_names,
            root,
            adapters,
            max_model_len,
            created: unix_seconds(),
        }
    }

    /// The name that metrics call the base model by.
    pub(crate) fn metrics_name(&self) -> &str {
        &self.base_names[0]
    }

    /// The adapter that `name` asks for, or none for the base model.
    pub(crate) fn adapter_of(&self, name: &str) -> Result<Option<AdapterId>, ApiError> {
        if self.base_names.iter().any(|base| base == name) {
            return Ok(None);
        }
        let adapter = self.adapters.iter().find(|adapter| adapter.name == name);
        adapter
            .map(|adapter| Some(adapter.id))
            .ok_or_else(|| ApiError::ModelNotFound(name.into()))
    }

    pub(crate) fn list(&self) -> ModelList {
        let base = self
            .base_names
            .iter()
            .map(|name| self.card(name, &self.root, None));
        let adapters = self.adapters.iter().map(|adapter| {
            self.card(
                &adapter.name,
                &adapter.root,
                Some(self.base_names[0].clone()),
            )
        });
        ModelList {
            data: base.chain(adapters).collect(),
        }
    }

    fn card(&self, name: &str, root: &str, parent: Option<String>) -> ModelCard {
        ModelCard {
            id: name.to_owned(),
            created: self.created,
            owned_by: "farthing",
            root: root.to_owned(),
            parent,
            max_model_len: self.max_model_len,
        }
    }
}

/// Now, as OpenAI's `created` fields tell it.
pub(crate) fn unix_seconds() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}
