//! Turns a batch into sampled tokens: weights, the decoder, LoRA, KV cache, runner.

mod runner;
mod runner_config;

mod flat_batch;
mod input;
mod llama;
mod lora;

mod adapter_pool;
mod kv_cache;
mod workspace;

mod gpu_steps;
mod lora_stacks;
mod step_layout;

mod checkpoint;
mod config;
mod device;
mod error;
mod gguf_metadata;
mod memory_plan;
mod regular_file;
mod rope;
mod vision_names;

pub use adapter_pool::AdapterPoolStats;
pub use checkpoint::{Checkpoint, GgufTokenizer, LoadFormat};
pub use config::{Architecture, Biases, Factors, Layers, ModelConfig};
pub use device::{ComputeType, DeviceKind};
pub use error::ModelError;
pub use farthing_ops::{GpuInfo, SimdLevel, use_simd_level};
pub use gpu_steps::graph_sizes;
pub use kv_cache::{BLOCK_SIZE, KvCache};
pub use llama::Llama;
pub use lora::{AdapterReport, DummyAdapter, DummyTargets, LoraAdapter, LoraBase, adapter_factor};
pub use memory_plan::{MemoryPlan, MemoryRequest};
pub use regular_file::{open_regular_file, read_regular_file};
pub use rope::{LongRope, QueryScaling, RopeConfig, RopeScaling, Yarn};
pub use runner::ModelRunner;
pub use runner_config::RunnerConfig;
