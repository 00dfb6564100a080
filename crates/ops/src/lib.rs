//! Device operations, each with a CPU side and a CUDA side.
//!
//! Every operation writes into a tensor made by its caller, so that a step allocates nothing. Views
//! by `narrow` on the first dimension are allowed as sources and destinations. On the CPU
//! activations are f32, weights, keys and values are bf16 or f32, and sums are f32.
//!
//! This is the only crate of the workspace with `unsafe` code.
#![allow(
    unsafe_code,
    reason = "vector instructions, and rows that threads share"
)]
// In a kernel the index is the register: an iterator would hide which one `acc[m][p]` is.
#![allow(clippy::needless_range_loop)]
// Constants are written as in the literature.
#![allow(clippy::excessive_precision)]

mod add;
mod add_bias;
#[cfg_attr(not(feature = "cuda"), path = "cuda/absent.rs")]
mod cuda;
mod embed;
mod gather_rows;
mod gemm;
mod gpu_info;
mod grid;
mod head_norm;
mod huge_pages;
mod kv_cache_layer;
mod limits;
mod linear;
mod linear_weight;
mod lora;
mod operand;
mod paged_attention;
mod philox;
mod pool;
mod rms_norm;
mod rope_and_cache;
mod rope_table;
mod sample;
mod silu_mul;
mod simd;
mod upload_table;

pub use add::{add, add_scaled};
pub use add_bias::add_bias;
pub use cuda::{
    DeviceSampler, Download, Graph, Stopwatch, Upload, copy_on_device, is_lost, is_out_of_memory,
    open_cuda,
};
pub use embed::embed;
pub use gather_rows::gather_rows;
pub use gpu_info::GpuInfo;
pub use head_norm::head_norm;
pub use kv_cache_layer::{BLOCK_SIZE, KvCacheLayer};
pub use limits::Limits;
pub use linear::{Accumulate, linear, plan_linear, planned_rows, read_ahead};
pub use linear_weight::{LinearWeight, LinearWeightBuilder, WeightElement, move_together};
pub use lora::{
    LORA_TILE_WORDS, LoraExpand, LoraRows, LoraScratch, LoraSegment, LoraStack, LoraStackShape,
    LoraWeight, lora, lora_expand, lora_shrink, lora_tiles, max_lora_tiles,
};
pub use paged_attention::{AttentionBatch, paged_attention};
pub use philox::philox4x32;
pub use pool::num_threads;
pub use rms_norm::rms_norm;
pub use rope_and_cache::rope_and_cache;
pub use rope_table::{RopeFactors, RopeTable};
pub use sample::{
    ListCapacity, SampleFault, SampleResult, SampleSpec, Sampled, sample, token_logprobs,
};
pub use silu_mul::silu_mul;
pub use simd::{SimdLevel, use_simd_level, with_simd_level};
pub use upload_table::UploadTable;
