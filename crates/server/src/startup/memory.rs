//! Divides memory among weights, KV cache and adapters.

#[cfg(test)]
mod tests;

use anyhow::ensure;
use farthing_model::{ComputeType, DeviceKind, MemoryPlan, MemoryRequest, ModelConfig};

use crate::startup::config::Limits;
use crate::startup::free_memory;

/// What the division depends on.
pub(crate) struct Memory<'a> {
    pub device: DeviceKind,
    pub limits: &'a Limits,
    pub model: &'a ModelConfig,
    pub compute_type: ComputeType,
    pub max_model_len: usize,
    /// Reserved for adapters on the device.
    pub adapter_bytes: usize,
}

/// Whether the weights are loaded when the memory is divided, and so are no longer part of what is
/// free.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Weights {
    OnDisk,
    Loaded,
}

impl Memory<'_> {
    /// Divides the memory that is free now.
    ///
    /// # Errors
    /// There is not enough memory. The message says what to lower.
    pub(crate) fn plan(&self, weights: Weights) -> anyhow::Result<MemoryPlan> {
        let free = match self.device.gpu()? {
            None => free_memory::bytes(),
            Some(gpu) => Some(self.of_gpu(gpu.free_bytes, gpu.total_bytes, weights)),
        };
        self.divide(free, weights)
    }

    /// The usable memory of a GPU: its permitted share without the loaded weights, as far as it is
    /// free.
    fn of_gpu(&self, free: usize, total: usize, weights: Weights) -> usize {
        let share = (self.limits.gpu_memory_utilization * total as f64) as usize;
        let taken = match weights {
            Weights::OnDisk => 0,
            Weights::Loaded => self.model.num_parameters() * self.compute_type.size_bytes(),
        };
        share.saturating_sub(taken).min(free)
    }

    /// Divides `free` bytes; `None` if the amount is unknown.
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
                    DeviceKind::Cuda(_) => free.saturating_sub(rest),
                };
                self.with_kv_cache(wanted.max(self.full_contexts(1)))?
            }
        };
        if let Some(free) = free {
            ensure!(
                to_take(&plan) <= free,
                "not enough memory: {plan} are needed, {} MiB are available; lower \
                 --max-model-len (now {}), --kv-cache-memory or --max-adapters, {}or serve a smaller model",
                free >> 20,
                self.max_model_len,
                match self.device {
                    DeviceKind::Cpu => "",
                    DeviceKind::Cuda(_) => "raise --gpu-memory-utilization, ",
                }
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

    /// The KV cache bytes of `count` sequences of maximum length.
    fn full_contexts(&self, count: usize) -> usize {
        MemoryPlan::kv_cache_bytes_for(self.model, self.compute_type, count * self.max_model_len)
    }
}
