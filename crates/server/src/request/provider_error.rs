//! Why a provider gives no answer.

use farthing_api::InvalidRequest;
use farthing_keys::RateLimited;
use farthing_vendors::VendorError;

use crate::adapters::{AdapterError, FindError};

/// Why a request gets no answer, or only a part of it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProviderError {
    /// The request is invalid.
    #[error(transparent)]
    Invalid(#[from] InvalidRequest),
    /// No model or adapter has this name.
    #[error("unknown model {0:?}")]
    ModelNotFound(String),
    /// The adapter cannot be used.
    #[error(transparent)]
    Adapter(#[from] AdapterError),
    /// The queue is full.
    #[error("the queue is full: it holds {limit} sequences")]
    QueueFull {
        /// The number of sequences that may wait or run at once.
        limit: usize,
    },
    /// Too many requests wait for their adapter to be loaded.
    #[error("too many requests wait for adapters: at most {limit} may")]
    AdapterQueueFull {
        /// The number of requests that may wait for an adapter.
        limit: usize,
    },
    /// The request asks for more choices than the queue holds.
    #[error(
        "This request asks for {choices} choices (prompts times 'n'), but this server holds at most \
         {limit} at once."
    )]
    TooManyChoices {
        /// Prompts times `n`.
        choices: usize,
        /// The number of sequences that may wait or run at once.
        limit: usize,
    },
    /// The caller's key has too few tokens left for the prompts.
    #[error(transparent)]
    RateLimited(#[from] RateLimited),
    /// The caller's key has spent what it may spend today.
    #[error("the budget of the caller's key is used up")]
    OverBudget,
    /// The request was cancelled because too much of its answer was not read.
    #[error("the answer was not read fast enough")]
    NotRead,
    /// The provider failed this request.
    #[error("{0}")]
    Failed(String),
    /// A vendor failed.
    #[error(transparent)]
    Vendor(#[from] Box<VendorFailure>),
    /// The provider does not run.
    #[error("the provider is not running")]
    Unavailable,
}

/// Why an attempt at a vendor failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{vendor}: {error}")]
pub struct VendorFailure {
    /// The vendor's name in the routes file.
    pub vendor: String,
    /// What happened.
    pub error: VendorError,
}

impl From<FindError> for ProviderError {
    fn from(error: FindError) -> Self {
        match error {
            FindError::NotFound(name) => Self::ModelNotFound(name),
            FindError::QueueFull { limit } => Self::AdapterQueueFull { limit },
            FindError::Adapter(error) => Self::Adapter(error),
        }
    }
}
