//! The interface between the step loop and the model. Tests replace it by a scripted runner.

use std::sync::Arc;

use farthing_model::{AdapterPoolStats, LoraAdapter, ModelError, ModelRunner};
use farthing_scheduler::{AdapterId, Batch, SampledToken};

/// Something that computes steps.
pub trait Runner: Send {
    /// Computes one step and returns one result per row of the batch.
    ///
    /// # Errors
    /// The step failed as a whole. After [`ModelError::DeviceLost`] no further step can succeed.
    fn execute(&mut self, batch: &Batch) -> Result<Vec<SampledToken>, ModelError>;

    /// Device seconds of the last step, if the device has a clock of its own.
    fn device_seconds(&self) -> Option<f64>;

    /// Makes an adapter available to rows that name it. Each call needs one
    /// [`Runner::release_adapter`].
    fn add_adapter(&mut self, adapter: Arc<LoraAdapter>);

    /// Reverts one [`Runner::add_adapter`]. Returns `true` for the last one.
    fn release_adapter(&mut self, id: AdapterId) -> bool;

    /// Copies an adapter to the device if a slot is free, ahead of the rows that will name it.
    fn prefetch_adapter(&mut self, adapter: Arc<LoraAdapter>);

    /// Frees the slot of an adapter that will not be named again, once no sequence uses it.
    fn retire_adapter(&mut self, id: AdapterId);

    /// Which adapters are on the device, and the counters of loads and evictions.
    fn adapter_stats(&self) -> AdapterPoolStats;
}

impl Runner for ModelRunner {
    fn execute(&mut self, batch: &Batch) -> Result<Vec<SampledToken>, ModelError> {
        ModelRunner::execute(self, batch)
    }

    fn device_seconds(&self) -> Option<f64> {
        ModelRunner::device_seconds(self)
    }

    fn add_adapter(&mut self, adapter: Arc<LoraAdapter>) {
        ModelRunner::add_adapter(self, adapter);
    }

    fn release_adapter(&mut self, id: AdapterId) -> bool {
        ModelRunner::release_adapter(self, id)
    }

    fn prefetch_adapter(&mut self, adapter: Arc<LoraAdapter>) {
        ModelRunner::prefetch_adapter(self, adapter);
    }

    fn retire_adapter(&mut self, id: AdapterId) {
        ModelRunner::retire_adapter(self, id);
    }

    fn adapter_stats(&self) -> AdapterPoolStats {
        ModelRunner::adapter_stats(self)
    }
}
