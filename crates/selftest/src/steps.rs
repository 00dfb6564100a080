//! Times whole steps of a model and compares them with their minimum time.

mod adapters;
mod decode;
mod prefill;

use std::{fmt, sync::Arc, time::Instant};

use farthing_scheduler::{
    AdapterId, Batch, BatchRow, BlockId, SampleRow, SamplingParams, SequenceId,
};
use serde::Serialize;

pub use self::adapters::AdapterTime;
pub use self::decode::DecodeTime;
pub use self::prefill::PrefillTime;
use crate::device_limits::DeviceLimits;
use crate::shape::{Shape, Sizes};
use farthing_model::{
    BLOCK_SIZE, Checkpoint, ComputeType, DeviceKind, KvCache, Llama, MemoryPlan, ModelConfig,
    ModelError, ModelRunner, RunnerConfig,
};

/// Which steps of which model.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct StepsOptions {
    /// The model.
    pub shape: Shape,
    /// Sampling temperature; 0 is greedy.
    pub temperature: f32,
    /// Top-p of sampling.
    pub top_p: f32,
}

/// Times of a model's steps.
#[derive(Clone, Debug, Serialize)]
pub struct StepTimes {
    /// The model and its sampling parameters.
    #[serde(flatten)]
    pub options: StepsOptions,
    /// Steps in which every row computes one token.
    pub decode: Vec<DecodeTime>,
    /// Steps that compute one prompt.
    pub prefill: Vec<PrefillTime>,
    /// Decode steps with adapters, compared with the same steps without.
    pub adapters: Vec<AdapterTime>,
}

/// Medians of several runs, in seconds.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct StepSeconds {
    /// By the host's clock, from the plan to the tokens.
    pub host: f64,
    /// By the device's own clock, if it has one.
    pub device: Option<f64>,
}

/// Maximum number of tokens per step. Longer prompts take several steps.
const MAX_STEP_TOKENS: usize = 2048;
/// Rank of the adapters on every linear layer.
const ADAPTER_RANK: usize = 16;

impl StepTimes {
    /// Times the steps of a model with random weights in bf16.
    pub(super) fn measure(
        device: DeviceKind,
        options: StepsOptions,
        limits: &DeviceLimits,
        say: &mut dyn FnMut(String),
    ) -> Result<Self, ModelError> {
        let mut model = Model::load(device, options, limits)?;
        Ok(Self {
            options,
            decode: model.decode(say)?,
            prefill: model.prefill(say)?,
            adapters: model.adapters(say)?,
        })
    }
}

impl StepSeconds {
    /// The device's time if known, otherwise the host's.
    pub fn best(self) -> f64 {
        self.device.unwrap_or(self.host)
    }
}

/// Table columns: the device's time, the host's time, and the minimum time.
struct Milliseconds {
    seconds: StepSeconds,
    floor_seconds: f64,
}

impl fmt::Display for Milliseconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (device, floor) = (self.seconds.best(), self.floor_seconds);
        write!(
            f,
            "{:>9.2} ms {:>9.2} ms {:>9.2} ms {:>6.0} %",
            device * 1e3,
            self.seconds.host * 1e3,
            floor * 1e3,
            floor / device * 100.0
        )
    }
}

/// A loaded model.
struct Model<'a> {
    runner: ModelRunner,
    config: ModelConfig,
    sizes: Sizes,
    num_blocks: usize,
    device: DeviceKind,
    limits: &'a DeviceLimits,
    params: Arc<SamplingParams>,
}

impl<'a> Model<'a> {
    fn load(
        device: DeviceKind,
        options: StepsOptions,
        limits: &'a DeviceLimits,
    ) -> Result<Self, ModelError> {
        let (config, sizes) = (options.shape.config()?, options.shape.sizes());
        let compute_type = ComputeType::Bf16;
        let most = |of: &[usize]| of.iter().copied().max().unwrap_or(1);
        let (rows, context) = (most(sizes.rows), most(sizes.contexts));
        let longest = context.max(most(sizes.prompts)) + BLOCK_SIZE;
        let checkpoint = Checkpoint::dummy(config.clone(), 0);
        let model = Llama::load(&checkpoint, longest, compute_type, device)?;
        let wanted = (rows * blocks_of(context + 1)).max(blocks_of(longest));
        let max_adapters = most(sizes.adapters);
        let num_blocks = match device.gpu()? {
            Some(gpu) => {
                let slots = max_adapters * MemoryPlan::adapter_slot_bytes(&config, ADAPTER_RANK);
                // A fifth is reserved for activations and graphs.
                let room = (gpu.free_bytes / 10 * 8).saturating_sub(slots);
                wanted.min(room / KvCache::block_bytes(&config, compute_type))
            }
            None => wanted,
        };
        let runner = ModelRunner::new(
            model,
            RunnerConfig {
                num_blocks,
                max_num_seqs: rows,
                max_num_batched_tokens: MAX_STEP_TOKENS,
                max_adapters,
                max_lora_rank: ADAPTER_RANK,
                compute_type,
                device,
            },
        )?;
        Ok(Self {
            runner,
            config,
            sizes,
            num_blocks,
            device,
            limits,
            params: Arc::new(SamplingParams {
                temperature: options.temperature,
                top_p: options.top_p,
                ..SamplingParams::default()
            }),
        })
    }

    /// The time of consecutive steps together.
    fn time(&mut self, steps: &[Batch]) -> Result<StepSeconds, ModelError> {
        let (mut host, mut device) = (Vec::new(), Vec::new());
        self.run(steps)?;
        for _ in 0..self.sizes.runs {
            let started = Instant::now();
            device.extend(self.run(steps)?);
            host.push(started.elapsed().as_secs_f64());
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

    /// Seconds by the device's clock, if it has one.
    fn run(&mut self, steps: &[Batch]) -> Result<Option<f64>, ModelError> {
        let mut seconds = Some(0.0);
        for step in steps {
            self.runner.execute(step)?;
            seconds = seconds
                .zip(self.runner.device_seconds())
                .map(|(a, b)| a + b);
        }
        Ok(seconds)
    }

    fn fits(&self, rows: usize, context: usize) -> bool {
        rows * blocks_of(context + 1) <= self.num_blocks
    }

    /// A decode step: every row has `context` tokens in the cache and computes one more. The rows
    /// use the adapters in turn.
    fn decode_step(&self, rows: usize, context: usize, adapters: &[AdapterId]) -> Batch {
        let blocks = blocks_of(context + 1);
        let row = |index: usize| BatchRow {
            adapter: adapters.get(index % adapters.len().max(1)).copied(),
            ..self.row(index, context..context + 1, blocks)
        };
        Batch {
            rows: (0..rows).map(row).collect(),
        }
    }

    /// A row that computes the tokens at these positions and samples after them. It uses the
    /// `index`-th range of blocks.
    fn row(&self, index: usize, positions: std::ops::Range<usize>, blocks: usize) -> BatchRow {
        BatchRow {
            sequence: SequenceId(index as u64),
            tokens: positions
                .clone()
                .map(|at| (index + at) as u32 % 1000)
                .collect(),
            start: positions.start,
            prompt_tokens: 0,
            block_table: (0..blocks)
                .map(|block| BlockId((index * blocks + block) as u32))
                .collect(),
            adapter: None,
            sample: Some(SampleRow {
                params: self.params.clone(),
                history: Vec::new(),
                history_prompt_tokens: 0,
                position: 0,
            }),
            prompt_logprobs: None,
            next_prompt_token: None,
        }
    }

    /// Weights per token in the decoder layers.
    fn layer_parameters(&self) -> usize {
        let embeddings = if self.config.tie_word_embeddings {
            1
        } else {
            2
        };
        self.config.num_parameters() - embeddings * self.head_parameters()
    }

    fn head_parameters(&self) -> usize {
        self.config.vocab_size * self.config.hidden_size
    }
}

fn blocks_of(tokens: usize) -> usize {
    tokens.div_ceil(BLOCK_SIZE)
}
