//! The path of one request: from the route to a provider and back, and its row in the ledger.

pub(crate) mod context;
pub(crate) mod provider;
pub(crate) mod provider_error;

pub(crate) mod answer;
pub(crate) mod answer_memory;
pub(crate) mod answer_record;
pub(crate) mod chat_answer;
pub(crate) mod completion_answer;
pub(crate) mod observer;
pub(crate) mod record;

mod choice_usage;
mod closed;
mod settlement;
mod usage;

pub(crate) mod bookkeeper;
pub(crate) mod row;

mod cache_salt;

pub(crate) mod backend;
pub(crate) mod local;

pub use choice_usage::{ChoiceUsage, DeviceUsage, Phases};
pub use context::RequestContext;
pub use provider_error::{ProviderError, VendorFailure};
