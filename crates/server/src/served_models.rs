//! The names that requests may use as `model`.

use farthing_api::{AdapterCard, AdapterList, AdapterTier, ModelCard, ModelList};
use farthing_scheduler::AdapterId;

use crate::access::caller::Caller;
use crate::adapters::{
    self, AdapterError, AdapterInUse, Adapters, FindError, HostFigures, NewAdapter,
};
use crate::clock::unix_seconds;
use crate::http::error::ApiError;

/// The base model and its adapters, by name.
pub struct ServedModels {
    /// Names of the base model. Metrics use the first.
    base_names: Vec<String>,
    /// The source of the base model.
    root: String,
    /// `None` if adapters are not served.
    adapters: Option<Adapters>,
    max_model_len: usize,
    created: u64,
}

impl ServedModels {
    /// `base_names` is not empty; `max_model_len` counts the tokens of prompt and answer together.
    pub fn new(
        base_names: Vec<String>,
        root: String,
        adapters: Option<Adapters>,
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

    /// The name of the base model in metrics.
    pub(crate) fn metrics_name(&self) -> &str {
        &self.base_names[0]
    }

    /// Maximum tokens of a prompt and its answer together.
    pub(crate) fn max_model_len(&self) -> usize {
        self.max_model_len
    }

    /// The adapter called `name`, loaded; `None` for the base model.
    pub(crate) async fn find(&self, name: &str) -> Result<Option<AdapterInUse>, FindError> {
        if self.is_base(name) {
            return Ok(None);
        }
        match &self.adapters {
            Some(adapters) => adapters.find(name).await.map(Some),
            None => Err(FindError::NotFound(name.to_owned())),
        }
    }

    /// Serves an adapter under a name; see [`Adapters::load`].
    ///
    /// # Errors
    /// The name is taken, or the adapter cannot be served.
    pub async fn load(&self, new: NewAdapter<'_>) -> Result<(), AdapterError> {
        if self.is_base(new.name) {
            return Err(AdapterError::NameOfBase(new.name.to_owned()));
        }
        self.adapters().ok_or(AdapterError::Off)?.load(new).await
    }

    pub(crate) async fn unload(&self, name: &str) -> Result<(), AdapterError> {
        self.adapters().ok_or(AdapterError::Off)?.unload(name).await
    }

    /// Whether a model or an adapter has this name now.
    pub(crate) fn is_served(&self, name: &str) -> bool {
        self.is_base(name) || self.named_adapters().any(|(adapter, ..)| adapter == name)
    }

    /// Whether this name may refer to something, now or once an adapter is loaded.
    pub(crate) fn may_be_served(&self, name: &str) -> bool {
        self.is_served(name) || self.adapters.as_ref().is_some_and(Adapters::may_change)
    }

    /// Refuses a name that the caller's key does not allow.
    pub(crate) fn check_use(&self, caller: &Caller, name: &str) -> Result<(), ApiError> {
        if caller.may_use(name, self.is_base(name)) {
            Ok(())
        } else {
            Err(ApiError::ModelNotAllowed(name.to_owned()))
        }
    }

    /// The models that the caller may use.
    pub(crate) fn list(&self, caller: &Caller) -> ModelList {
        let base = self
            .base_names
            .iter()
            .map(|name| self.card(name, &self.root, None, self.created));
        let parent = || Some(self.base_names[0].clone());
        let adapters = self.named_adapters();
        let adapters =
            adapters.map(|(name, named, _)| self.card(&name, &named.root, parent(), named.created));
        ModelList {
            data: base
                .chain(adapters)
                .filter(|card| caller.may_use(&card.id, card.parent.is_none()))
                .collect(),
        }
    }

    /// The card of a route.
    pub(crate) fn route_card(&self, name: &str) -> ModelCard {
        self.card(name, name, None, self.created)
    }

    /// All named adapters; `on_device` are those in device slots.
    pub(crate) fn adapter_list(&self, on_device: &[AdapterId]) -> AdapterList {
        let cards = self.named_adapters();
        let card = |(id, named, in_memory): (String, adapters::Named, bool)| AdapterCard {
            id,
            created: named.created,
            generation: adapters::generation(named.id),
            root: named.root,
            parent: self.base_names[0].clone(),
            tier: if !in_memory {
                AdapterTier::Disk
            } else if on_device.contains(&named.id) {
                AdapterTier::Device
            } else {
                AdapterTier::Host
            },
            pinned: named.pinned,
            rank: named.rank,
            size_bytes: named.size_bytes,
        };
        AdapterList {
            data: cards.map(card).collect(),
        }
    }

    pub(crate) fn adapter_figures(&self) -> HostFigures {
        self.adapters().map(Adapters::figures).unwrap_or_default()
    }

    fn adapters(&self) -> Option<&Adapters> {
        self.adapters.as_ref()
    }

    /// Each adapter's name, and whether it is in host memory.
    fn named_adapters(&self) -> impl Iterator<Item = (String, adapters::Named, bool)> {
        self.adapters().map(Adapters::list).into_iter().flatten()
    }

    fn is_base(&self, name: &str) -> bool {
        self.base_names.iter().any(|base| base == name)
    }

    fn card(&self, name: &str, root: &str, parent: Option<String>, created: u64) -> ModelCard {
        ModelCard {
            id: name.to_owned(),
            created,
            owned_by: "farthing",
            root: root.to_owned(),
            parent,
            max_model_len: self.max_model_len,
        }
    }
}
