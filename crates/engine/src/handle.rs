//! The cloneable door to the engine thread.

use crate::{EngineStats, GenerationEvent, GenerationRequest};

/// Sends requests to the engine thread; cheap to clone. It never blocks the async runtime.
#[derive(Clone, Debug)]
pub struct EngineHandle {}

/// Why a request was not taken.
#[derive(Debug, thiserror::Error)]
pub enum SubmitError {
    /// The queue is full.
    #[error("the engine's queue is full ({limit} requests): try again later")]
    QueueFull {
        /// How many requests may wait or run at once.
        limit: usize,
    },
    /// Prompt and `max_tokens` can never fit.
    #[error("{0}")]
    TooLong(String),
    /// The engine thread has ended.
    #[error("the engine is not running")]
    EngineDead,
}

/// The events of one request. Dropping it aborts what is still running.
#[derive(Debug)]
pub struct GenerationStream {}

impl EngineHandle {
    /// Queues a request.
    pub fn submit(&self, _request: GenerationRequest) -> Result<GenerationStream, SubmitError> {
        Err(SubmitError::EngineDead)
    }

    /// What the engine published after its last step.
    pub fn stats(&self) -> EngineStats {
        EngineStats::default()
    }

    /// Whether the engine thread is alive.
    pub fn is_alive(&self) -> bool {
        false
    }
}

impl GenerationStream {
    /// The next event; `None` after the last.
    pub async fn next(&mut self) -> Option<GenerationEvent> {
        None
    }
}
