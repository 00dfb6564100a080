//! Whole decode steps beside the least time they could take.

use std::{fmt, sync::Arc, time::Instant};

use farthing_scheduler::{Batch, BatchRow, BlockId, SampleRow, SamplingParams, SequenceId};
use serde::Serialize;
use serde_json::{Value, json};

use super::rates::DeviceLimits;
use crate::{
    BLOCK_SIZE, Checkpoint, ComputeType, DeviceKind, KvCache, Llama, MemoryPlan, ModelConfig,
    ModelError, ModelRunner, RunnerConfig,
};

/// How long a decode step takes.
#[derive(Clone, Debug, Serialize)]
pub struct DecodeTime {
    /// Rows of the step.
    pub rows: usize,
    /// Tokens in the cache of each row.
    pub context: usize,
    /// None where the KV cache doesn't fit the device.
    pub seconds: Option<StepSeconds>,
    /// The least: all weights and the whole cache read once, or all products computed.
    pub floor_seconds: f64,
}

/// Medians of several steps.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct StepSeconds {
    /// By the host's clock, from the plan to the tokens.
    pub host: f64,
    /// By the device's own clock, where it has one.
    pub device: Option<f64>,
}

impl DecodeTime {
    pub(super) const HEADING: &str =
        "decode step                device        host       floor   floor/device    tokens/s";
}

impl fmt::Display for DecodeTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { rows, context, .. } = self;
        let floor = self.floor_seconds * 1e3;
        let Some(StepSeconds { host, device }) = self.seconds else {
            return write!(f, "{rows:>4} rows × {context:<6} does not fit the device");
        };
        let device = device.unwrap_or(host);
        write!(
            f,
            "{rows:>4} rows × {context:<6} {:>11.2} ms {:>8.2} ms {floor:>8.2} ms {:>11.0} % {:>11.0}",
            device * 1e3,
            host * 1e3,
            self.floor_seconds / device * 100.0,
            *rows as f64 / host
        )
    }
}

/// Times steps of Mistral-7B's shape on a GPU, of a small model's on the CPU; random weights.
pub(super) fn measure(
    device: DeviceKind,
    limits: &DeviceLimits,
    tell: &mut dyn FnMut(&DecodeTime),
) -> Result<Vec<DecodeTime>, ModelError> {
    let (shape, rows, contexts): (Value, &[usize], &[usize]) = match device {
        DeviceKind::Cpu => (small(), &[1, 8], &[64, 256]),
        DeviceKind::Cuda(_) => (mistral_7b(), &[1, 8, 32, 64, 128, 256], &[512, 1024, 2048]),
    };
    let config = ModelConfig::from_hf_json(&shape)?;
    let compute_type = ComputeType::Bf16;
    let longest = contexts.iter().copied().max().unwrap_or(1) + BLOCK_SIZE;
    let most_rows = rows.iter().copied().max().unwrap_or(1);
    let checkpoint = Checkpoint::dummy(config.clone(), 0);
    let model = Llama::load(&checkpoint, longest, compute_type, device)?;
    let wanted = most_rows * longest.div_ceil(BLOCK_SIZE);
    let num_blocks = match device.free_gpu_bytes()? {
        // The rest is for activations and graphs.
        Some(free) => wanted.min(free / 10 * 8 / KvCache::block_bytes(&config, compute_type)),
        None => wanted,
    };
    let mut runner = ModelRunner::new(
        model,
        RunnerConfig {
            num_blocks,
            max_num_seqs: most_rows,
            max_num_batched_tokens: most_rows,
            max_adapters: 0,
            max_lora_rank: 0,
            compute_type,
            device,
        },
    )?;
    let mut times = Vec::new();
    for &context in contexts {
        for &rows in rows {
            let blocks = (context + 1).div_ceil(BLOCK_SIZE);
            let seconds = match rows * blocks <= num_blocks {
                true => Some(time(&mut runner, &decode(rows, context, blocks))?),
                false => None,
            };
            let time = DecodeTime {
                rows,
                context,
                seconds,
                floor_seconds: floor_seconds(&config, limits, rows, context),
            };
            tell(&time);
            times.push(time);
        }
    }
    Ok(times)
}

/// `max(weight bytes / bandwidth, 2 · parameters · rows / FLOP/s) + rows · context · bytes of a
/// token / bandwidth`. The input embedding is not read but for a row a token.
fn floor_seconds(config: &ModelConfig, limits: &DeviceLimits, rows: usize, context: usize) -> f64 {
    let embedding = match config.tie_word_embeddings {
        true => 0,
        false => config.vocab_size * config.hidden_size,
    };
    let parameters = (config.num_parameters() - embedding) as f64;
    let weights = limits.least_seconds(2.0 * parameters, 2.0 * parameters * rows as f64);
    let cached = MemoryPlan::kv_cache_bytes_for(config, ComputeType::Bf16, context);
    weights + (rows * cached) as f64 / limits.bytes_per_second
}

fn time(runner: &mut ModelRunner, batch: &Batch) -> Result<StepSeconds, ModelError> {
    const STEPS: usize = 15;
    let (mut host, mut device) = (Vec::new(), Vec::new());
    runner.execute(batch)?;
    for _ in 0..STEPS {
        let started = Instant::now();
        runner.execute(batch)?;
        host.push(started.elapsed().as_secs_f64());
        device.extend(runner.device_seconds());
    }
    let median = |mut seconds: Vec<f64>| {
        seconds.sort_by(f64::total_cmp);
        seconds.get(seconds.len() / 2).copied()
    };
    Ok(StepSeconds {
        host: median(host).unwrap_or(0.0),
        device: median(device),
    })
}

/// A step in which every row has so many tokens in the cache and computes one more.
fn decode(rows: usize, context: usize, blocks: usize) -> Batch {
    let params = Arc::new(SamplingParams {
        temperature: 0.0,
        ..SamplingParams::default()
    });
    let row = |index: usize| BatchRow {
        sequence: SequenceId(index as u64),
        tokens: vec![index as u32 % 1000],
        start: context,
        prompt_tokens: 0,
        block_table: (0..blocks)
            .map(|block| BlockId((index * blocks + block) as u32))
            .collect(),
        adapter: None,
        sample: Some(SampleRow {
            params: params.clone(),
            history: Vec::new(),
            history_prompt_tokens: 0,
            position: 0,
        }),
        prompt_logprobs: None,
        next_prompt_token: None,
    };
    Batch {
        rows: (0..rows).map(row).collect(),
    }
}

/// The shape of Mistral-7B-v0.3.
fn mistral_7b() -> Value {
    json!({
        "architectures": ["MistralForCausalLM"], "model_type": "mistral",
        "hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32,
        "num_attention_heads": 32, "num_key_value_heads": 8, "vocab_size": 32768,
        "max_position_embeddings": 32768, "rope_theta": 1_000_000.0, "rms_norm_eps": 1e-5,
        "hidden_act": "silu", "tie_word_embeddings": false, "sliding_window": null,
        "torch_dtype": "bfloat16",
    })
}

/// A sixth of SmolLM2-135M.
fn small() -> Value {
    json!({
        "architectures": ["LlamaForCausalLM"], "model_type": "llama",
        "hidden_size": 576, "intermediate_size": 1536, "num_hidden_layers": 4,
        "num_attention_heads": 9, "num_key_value_heads": 3, "vocab_size": 49152,
        "max_position_embeddings": 2048, "rope_theta": 10_000.0, "rms_norm_eps": 1e-5,
        "hidden_act": "silu", "tie_word_embeddings": true, "torch_dtype": "bfloat16",
    })
}
