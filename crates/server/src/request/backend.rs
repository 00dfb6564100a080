//! What the server asks of an engine: the seam that tests put a scripted engine behind.

use std::pin::Pin;
use std::sync::Arc;

use farthing_engine::{EngineHandle, EngineStats, GenerationEvent, GenerationRequest, SubmitError};
use farthing_model::LoraAdapter;
use farthing_scheduler::AdapterId;
use futures_util::{Stream, stream};

/// The events of one request; dropping it aborts what still runs.
pub type Events = Pin<Box<dyn Stream<Item = GenerationEvent> + Send>>;

/// Something that generates tokens.
pub trait Backend: Send + Sync {
    /// Queues a request.
    ///
    /// # Errors
    /// It can never fit, the queue is full, or the engine has ended.
    fn submit(&self, request: GenerationRequest) -> Result<Events, SubmitError>;

    /// Says that the door opens: the seconds until now were warm-up.
    fn end_warm_up(&self);
    /// Brings an adapter to the device ahead of its first request, where there is room.
    fn prefetch_adapter(&self, adapter: Arc<LoraAdapter>);

    /// Frees the device of an adapter that no request will ask for again, once nobody uses it.
    fn retire_adapter(&self, id: AdapterId);

    /// What the engine published after its last step.
    fn stats(&self) -> EngineStats;

    /// Whether it can still answer.
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
