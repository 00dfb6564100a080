//! Limits of a step.

use crate::{ComputeType, DeviceKind};

/// Limits of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RunnerConfig {
    /// Number of blocks of the KV cache.
    pub num_blocks: usize,
    /// Maximum number of sequences in a batch.
    pub max_num_seqs: usize,
    /// Maximum number of new tokens in a batch.
    pub max_num_batched_tokens: usize,
    /// Number of adapter slots, and so of adapters in a batch.
    pub max_adapters: usize,
    /// Maximum rank of an adapter.
    pub max_lora_rank: usize,
    /// Type of the KV cache.
    pub compute_type: ComputeType,
    /// The device.
    pub device: DeviceKind,
}
