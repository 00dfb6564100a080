//! Why an adapter is not served, in vLLM's words where it has some.

use farthing_model::ModelError;

/// What keeps an adapter from being loaded, unloaded or used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AdapterError {
    /// The name has an adapter already, and nobody said that it may be replaced.
    #[error(
        "The lora adapter '{0}' has already been loaded. If you want to load the adapter in place, \
         set 'load_inplace' to True."
    )]
    NameTaken(String),
    /// The name is the base model's.
    #[error("The name '{0}' is the base model's: give the adapter another.")]
    NameOfBase(String),
    /// No adapter has this name.
    #[error("The lora adapter '{0}' cannot be found.")]
    Unknown(String),
    /// Nothing that may be loaded is there.
    #[error("Loading lora {name} failed: No adapter found for {path}{hint}")]
    NotThere {
        /// What it was to be called.
        name: String,
        /// As sent.
        path: String,
        /// Where adapters may be.
        hint: String,
    },
    /// Its rank is over the limit.
    #[error(
        "Loading lora {name} failed: LoRA rank {rank} is greater than max_lora_rank {limit}; start \
         the server with a larger --max-lora-rank"
    )]
    RankTooHigh {
        /// What it was to be called.
        name: String,
        /// Its rank.
        rank: usize,
        /// The server's limit.
        limit: usize,
    },
    /// Something is wrong with its files.
    #[error("Loading lora {name} failed: {reason}")]
    Refused {
        /// What it was to be called.
        name: String,
        /// What is wrong.
        reason: String,
    },
    /// It does not fit, whatever else is given up.
    #[error(
        "Loading lora {name} failed: its {size_bytes} bytes do not fit into host memory beside the \
         pinned adapters; raise --max-cpu-loras or --adapter-memory, or unload pinned ones"
    )]
    NoRoom {
        /// What it was to be called.
        name: String,
        /// What it needs.
        size_bytes: usize,
    },
    /// A request names an adapter whose files are there but cannot be served.
    #[error("LoRA adapter '{0}' was found but could not be loaded: the server's log says why.")]
    NotLoadable(String),
    /// A request names an adapter that may be on the hub, which cannot be asked.
    #[error("Whether LoRA adapter '{0}' exists cannot be told: the hub cannot be reached.")]
    Unreachable(String),
    /// The server serves no adapters.
    #[error("This server was started with --max-adapters 0: it serves no adapters.")]
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
