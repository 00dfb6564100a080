//! Why an adapter is not served. Messages follow vLLM's where it has the same error.

use farthing_model::ModelError;

/// Why an adapter cannot be loaded, unloaded or used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AdapterError {
    /// The name is taken, and replacing was not requested.
    #[error(
        "The lora adapter '{0}' has already been loaded. If you want to load the adapter in place, \
         set 'load_inplace' to True."
    )]
    NameTaken(String),
    /// The name is the base model's.
    #[error("The name '{0}' belongs to the base model: choose another name.")]
    NameOfBase(String),
    /// No adapter has this name.
    #[error("The lora adapter '{0}' cannot be found.")]
    Unknown(String),
    /// There is no adapter at this path, or it may not be loaded from there.
    #[error("Loading lora {name} failed: No adapter found for {path}{hint}")]
    NotThere {
        /// The requested name.
        name: String,
        /// The requested path.
        path: String,
        /// Where adapters may be loaded from.
        hint: String,
    },
    /// Its rank is above the limit.
    #[error(
        "Loading lora {name} failed: LoRA rank {rank} is greater than max_lora_rank {limit}; raise \
         the server's limit"
    )]
    RankTooHigh {
        /// The requested name.
        name: String,
        /// Its rank.
        rank: usize,
        /// The server's limit.
        limit: usize,
    },
    /// Its files are invalid or not supported.
    #[error("Loading lora {name} failed: {reason}")]
    Refused {
        /// The requested name.
        name: String,
        /// What is wrong.
        reason: String,
    },
    /// It does not fit in host memory, even if everything that is not pinned is evicted.
    #[error(
        "Loading lora {name} failed: its {size_bytes} bytes do not fit into host memory beside the \
         pinned adapters; raise the server's adapter memory, or unload pinned adapters"
    )]
    NoRoom {
        /// The requested name.
        name: String,
        /// The size of the adapter.
        size_bytes: usize,
    },
    /// The adapter's files exist but cannot be served.
    #[error("LoRA adapter '{0}' was found but could not be loaded: the server's log says why.")]
    NotLoadable(String),
    /// The adapter may exist on the hub, which cannot be reached.
    #[error("Cannot check whether LoRA adapter '{0}' exists: the hub cannot be reached.")]
    Unreachable(String),
    /// The server does not serve adapters.
    #[error("This server serves no adapters: its maximum number of adapters is 0.")]
    Off,
}

/// Why no adapter is found for the model name of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum FindError {
    /// No adapter has this name.
    NotFound(String),
    /// Too many requests wait for their adapter already.
    QueueFull { limit: usize },
    /// The adapter exists but cannot be used.
    Adapter(AdapterError),
}

impl From<AdapterError> for FindError {
    fn from(error: AdapterError) -> Self {
        Self::Adapter(error)
    }
}

impl AdapterError {
    pub(super) fn of_files(name: &str, error: &ModelError) -> Self {
        Self::Refused {
            name: name.to_owned(),
            reason: error.to_string(),
        }
    }
}
