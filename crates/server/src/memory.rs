//! What the memory is to be for.

#[cfg(test)]
mod tests;

use anyhow::ensure;
use farthing_model::{ComputeType, DeviceKind, MemoryPlan, MemoryRequest, ModelConfig};

use crate::config::Limits;
use crate::free_memory;

/// What the memory is divided by.
pub(crate) struct Memory<'a> {
    pub device: DeviceKind,
    pub limits: &'a Limits,
    pub model: &'a ModelConfig,
    pub compute_type: ComputeType,
    pub max_model_len: usize,
    /// Of the adapters on the device.
    pub adapter_bytes: usize,
}

/// Where the weights are while the memory is divided: what is free is free beside them, or not yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Weights {
    OnDisk,
    Loaded,
}

impl Memory<'_> {
    /// Divides what is free now.
    ///
    /// # Errors
    /// There is not enough; with what to lower.
    pub(crate) fn plan(&self, weights: Weights) -> anyhow::Result<MemoryPlan> {
        let free = match self.device {
            DeviceKind::Cpu => free_memory::bytes(),
            DeviceKind::Cuda(_) => self.device.free_gpu_bytes()?,
        };
        self.divide(free, weights)
    }

    /// Divides so many bytes; none where nobody knows how many there are.
    fn divide(&self, free: Option<usize>, weights: Weights) -> anyhow::Result<MemoryPlan> {
        let to_take = |plan: &MemoryPlan| match weights {
            Weights::OnDisk => plan.total_bytes(),
            Weights::Loaded => plan.total_bytes() - plan.weights_bytes,
        };
        let plan = match self.limits.kv_cache_bytes {
            Some(bytes) => self.with_kv_cache(bytes)?,
            None => {
                let smallest = self.with_kv_cache(self.full_contexts(1))?;
                let rest = to_take(&smallest) - smallest.kv_cache_bytes;
                let free = free.unwrap_or(usize::MAX);
                let wanted = match self.device {
                    DeviceKind::Cpu => {
                        let half = free.saturating_sub(rest) / 2;
                        self.full_contexts(8).min(4 << 30).min(half)
                    }
                    // A GPU has nothing else to do; a twentieth is for what nobody counts.
                    DeviceKind::Cuda(_) => (free / 20 * 19).saturating_sub(rest),
                };
                self.with_kv_cache(wanted.max(self.full_contexts(1)))?
            }
        };
        if let Some(free) = free {
            ensure!(
                to_take(&plan) <= free,
                "this needs {plan}, but only {} MiB of memory are free: lower --max-model-len (now \
                 {}), --kv-cache-memory or --max-adapters, or serve a smaller model",
                free >> 20,
                self.max_model_len
            );
        }
        Ok(plan)
    }

    fn with_kv_cache(&self, kv_cache_bytes: usize) -> anyhow::Result<MemoryPlan> {
        let request = MemoryRequest {
            kv_cache_bytes,
            max_model_len: self.max_model_len,
            max_num_seqs: self.limits.max_num_seqs,
            max_num_batched_tokens: self.limits.max_num_batched_tokens,
            compute_type: self.compute_type,
            device: self.device,
        };
        let plan = MemoryPlan::new(self.model, request)?;
        Ok(MemoryPlan {
            adapter_bytes: self.adapter_bytes,
            ..plan
        })
    }

    /// Bytes of a KV cache for so many sequences of the longest length.
    fn full_contexts(&self, count: usize) -> usize {
        MemoryPlan::kv_cache_bytes_for(self.model, self.compute_type, count * self.max_model_len)
    }
}
