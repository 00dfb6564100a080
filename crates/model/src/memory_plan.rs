//! How the memory is divided, planned before anything is allocated.

use std::fmt;

use crate::{
    ComputeType, DeviceKind, KvCache, ModelConfig, ModelError, gpu_steps::graph_sizes,
    kv_cache::BLOCK_SIZE, lora_stacks::LoraStacks, workspace::Workspace,
};

/// Bytes by purpose. They add up to the memory of the process, except for code and tokenizer
/// tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryPlan {
    /// Weights in the compute type.
    pub weights_bytes: usize,
    /// Number of blocks of the KV cache, each of [`BLOCK_SIZE`] tokens.
    pub num_blocks: usize,
    /// Size of all blocks.
    pub kv_cache_bytes: usize,
    /// Size of the adapters, known once they are loaded.
    pub adapter_bytes: usize,
    /// Activations of the largest step.
    pub workspace_bytes: usize,
    /// Other memory on a GPU: recorded graphs, kernels, and scratch buffers of attention and matrix
    /// products.
    pub runtime_bytes: usize,
}

/// The CUDA context, the kernels of candle and Farthing, cublasLt's workspace and attention's
/// scratch buffer; an estimate until a GPU has been measured.
const GPU_RUNTIME_BYTES: usize = 512 << 20;

/// One graph of a decode step; an estimate until a GPU has been measured.
const GRAPH_BYTES: usize = 8 << 20;

/// Inputs of the plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryRequest {
    /// Maximum size of the KV cache.
    pub kv_cache_bytes: usize,
    /// Maximum number of tokens of a sequence, prompt and answer together.
    pub max_model_len: usize,
    /// Maximum number of sequences in a batch.
    pub max_num_seqs: usize,
    /// Maximum number of new tokens in a batch.
    pub max_num_batched_tokens: usize,
    /// Type of weights and cache.
    pub compute_type: ComputeType,
    /// The device.
    pub device: DeviceKind,
}

impl MemoryPlan {
    /// Makes the plan for a model before its weights are read.
    ///
    /// # Errors
    /// The KV cache is too small for one sequence of `max_model_len` tokens.
    pub fn new(config: &ModelConfig, request: MemoryRequest) -> Result<Self, ModelError> {
        let MemoryRequest {
            max_num_seqs,
            max_num_batched_tokens,
            compute_type,
            ..
        } = request;
        let block_bytes = KvCache::block_bytes(config, compute_type);
        let num_blocks = request.kv_cache_bytes / block_bytes;
        if num_blocks * BLOCK_SIZE < request.max_model_len {
            return Err(ModelError::KvCacheTooSmall {
                tokens: num_blocks * BLOCK_SIZE,
                max_model_len: request.max_model_len,
                needed_bytes: Self::kv_cache_bytes_for(config, compute_type, request.max_model_len),
            });
        }
        Ok(Self {
            weights_bytes: config.num_parameters() * compute_type.size_bytes(),
            num_blocks,
            kv_cache_bytes: num_blocks * block_bytes,
            adapter_bytes: 0,
            workspace_bytes: Workspace::bytes(
                config,
                max_num_batched_tokens,
                max_num_seqs,
                (compute_type, request.device),
            ),
            runtime_bytes: match request.device {
                DeviceKind::Cpu => 0,
                // Two graphs per size: with and without adapters.
                DeviceKind::Cuda(_) => {
                    GPU_RUNTIME_BYTES + 2 * graph_sizes(max_num_seqs).count() * GRAPH_BYTES
                }
            },
        })
    }

    /// Size of a KV cache for this many tokens.
    pub fn kv_cache_bytes_for(
        config: &ModelConfig,
        compute_type: ComputeType,
        tokens: usize,
    ) -> usize {
        tokens.div_ceil(BLOCK_SIZE) * KvCache::block_bytes(config, compute_type)
    }

    /// Size of one adapter slot on a GPU. It does not depend on the adapter's rank.
    pub fn adapter_slot_bytes(config: &ModelConfig, max_lora_rank: usize) -> usize {
        LoraStacks::slot_bytes(config, max_lora_rank)
    }

    /// Number of tokens that fit into the KV cache.
    pub fn kv_cache_tokens(&self) -> usize {
        self.num_blocks * BLOCK_SIZE
    }

    /// The sum of all purposes.
    pub fn total_bytes(&self) -> usize {
        self.weights_bytes
            + self.kv_cache_bytes
            + self.adapter_bytes
            + self.workspace_bytes
            + self.runtime_bytes
    }
}

impl fmt::Display for MemoryPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mib = |bytes: usize| bytes as f64 / (1 << 20) as f64;
        write!(
            f,
            "{:.0} MiB = weights {:.0} + KV cache {:.0} ({} blocks = {} tokens) + adapters {:.1} + workspace {:.0}",
            mib(self.total_bytes()),
            mib(self.weights_bytes),
            mib(self.kv_cache_bytes),
            self.num_blocks,
            self.kv_cache_tokens(),
            mib(self.adapter_bytes),
            mib(self.workspace_bytes),
        )?;
        match self.runtime_bytes {
            0 => Ok(()),
            bytes => write!(f, " + graphs and kernels {:.0}", mib(bytes)),
        }
    }
}
