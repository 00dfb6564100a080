//! The interface of the engine. Tests implement it with a scripted engine.

use std::pin::Pin;
use std::sync::Arc;

use farthing_engine::{EngineHandle, EngineStats, GenerationEvent, GenerationRequest, SubmitError};
use farthing_model::LoraAdapter;
use farthing_scheduler::AdapterId;
use futures_util::{Stream, stream};

/// The events of one request. Dropping the stream aborts what still runs.
pub type Events = Pin<Box<dyn Stream<Item = GenerationEvent> + Send>>;

/// An engine that generates tokens.
pub trait Backend: Send + Sync {
    /// Queues a request.
    ///
    /// # Errors
    /// The request can never fit, the queue is full, or the engine has ended.
    fn submit(&self, request: GenerationRequest) -> Result<Events, SubmitError>;

    /// Maximum number of sequences of one request.
    fn max_choices(&self) -> usize;

    /// Ends the warm-up: the time until now counts as warm-up.
    fn end_warm_up(&self);
    /// Copies an adapter to the device before its first request, if there is a free slot.
    fn prefetch_adapter(&self, adapter: Arc<LoraAdapter>);

    /// Frees the device slot of an adapter that gets no more requests, as soon as it is unused.
    fn retire_adapter(&self, id: AdapterId);

    /// The figures after the last step.
    fn stats(&self) -> EngineStats;

    /// Whether the engine runs.
    fn is_alive(&self) -> bool;
}

impl Backend for EngineHandle {
    fn submit(&self, request: GenerationRequest) -> Result<Events, SubmitError> {
        let generation = EngineHandle::submit(self, request)?;
        Ok(Box::pin(stream::unfold(
            generation,
            |mut generation| async { Some((generation.next().await?, generation)) },
        )))
    }

    fn max_choices(&self) -> usize {
        EngineHandle::max_choices(self)
    }

    fn end_warm_up(&self) {
        EngineHandle::end_warm_up(self);
    }

    fn prefetch_adapter(&self, adapter: Arc<LoraAdapter>) {
        EngineHandle::prefetch_adapter(self, adapter);
    }

    fn retire_adapter(&self, id: AdapterId) {
        EngineHandle::retire_adapter(self, id);
    }

    fn stats(&self) -> EngineStats {
        EngineHandle::stats(self)
    }

    fn is_alive(&self) -> bool {
        EngineHandle::is_alive(self)
    }
}
