//! What the step loop asks of a model: the seam that tests put a scripted one behind.

use std::sync::Arc;

use farthing_model::{AdapterPoolStats, LoraAdapter, ModelError, ModelRunner};
use farthing_scheduler::{AdapterId, Batch, SampledToken};

/// Something that computes steps.
pub trait Runner: Send {
    /// Computes one step; one entry a row of the batch.
    ///
    /// # Errors
    /// The step failed as a whole. After [`ModelError::DeviceLost`] no other can succeed.
    fn execute(&mut self, batch: &Batch) -> Result<Vec<SampledToken>, ModelError>;

    /// Seconds that the device was at work in the last step, where it has a clock of its own.
    fn device_seconds(&self) -> Option<f64>;

    /// Makes an adapter available to the rows that name it, until it is released as often.
    fn add_adapter(&mut self, adapter: Arc<LoraAdapter>);

    /// Takes one `add_adapter` back; `true` with the last.
    fn release_adapter(&mut self, id: AdapterId) -> bool;

    /// Brings an adapter to the device that rows will soon name, where there is room to spare.
    fn prefetch_adapter(&mut self, adapter: Arc<LoraAdapter>);

    /// Frees the place of an adapter that is not coming back, once nobody holds it any more.
    fn retire_adapter(&mut self, id: AdapterId);

    /// Which adapters are on the device, and how well that went.
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
