//! Scheduler and runner in a loop, like the engine's step loop.

use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, ensure};
use farthing_model::{
    BLOCK_SIZE, Checkpoint, ComputeType, DeviceKind, Llama, ModelRunner, RunnerConfig,
};
use farthing_scheduler::{
    AdapterId, Batch, SamplingParams, Scheduler, SchedulerConfig, SequenceId, SequenceRequest,
};

/// Maximum number of tokens per step. It equals llama.cpp's `n_ubatch` in the comparison.
const MAX_NUM_BATCHED_TOKENS: usize = 512;

/// Sequences that arrive together.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// Number of sequences.
    pub sequences: usize,
    /// Tokens of each prompt.
    pub context: usize,
    /// Steps in which every sequence generates a token.
    pub new: usize,
}

/// Seconds of one pass.
#[derive(Clone, Copy, Debug)]
pub struct PassSeconds {
    /// Seconds of the steps until all sequences generate.
    pub prompts: f64,
    /// Seconds of the steps in which all sequences generate.
    pub answers: f64,
}

/// A model on the CPU in bf16, with a KV cache that just fits the load.
pub struct StepLoop {
    /// The model.
    pub runner: ModelRunner,
    limits: SchedulerConfig,
    load: Load,
}

impl StepLoop {
    /// Loads the model, with slots for `adapters` adapters of rank at most `max_lora_rank`.
    ///
    /// # Errors
    /// The model cannot be loaded.
    pub fn new(
        checkpoint: &Checkpoint,
        load: Load,
        max_adapters: usize,
        max_lora_rank: usize,
    ) -> anyhow::Result<Self> {
        // While the last prompts are still being computed, the first sequences already generate.
        let prompt_steps = (load.sequences * load.context).div_ceil(MAX_NUM_BATCHED_TOKENS) + 1;
        let max_model_len = load.context + load.new + 2 * prompt_steps + 2;
        let limits = SchedulerConfig {
            block_size: BLOCK_SIZE,
            num_blocks: load.sequences * max_model_len.div_ceil(BLOCK_SIZE),
            max_num_seqs: load.sequences,
            max_num_batched_tokens: MAX_NUM_BATCHED_TOKENS,
            max_model_len,
            max_adapters,
        };
        let (compute_type, device) = (ComputeType::Bf16, DeviceKind::Cpu);
        let model = Llama::load(checkpoint, max_model_len, compute_type, device)?;
        let config = RunnerConfig {
            num_blocks: limits.num_blocks,
            max_num_seqs: limits.max_num_seqs,
            max_num_batched_tokens: MAX_NUM_BATCHED_TOKENS,
            max_adapters,
            max_lora_rank,
            compute_type,
            device,
        };
        Ok(Self {
            runner: ModelRunner::new(model, config)?,
            limits,
            load,
        })
    }

    /// Runs the load once: its prompts, and then its `new` steps. The sequences use the adapters in
    /// turn.
    ///
    /// # Errors
    /// A step failed, or the measured steps are not those of the load.
    pub fn pass(&mut self, adapters: &[Option<AdapterId>]) -> anyhow::Result<PassSeconds> {
        let max_tokens = self.limits.max_model_len - self.load.context;
        let mut scheduler = self.scheduler(self.load, max_tokens, adapters)?;
        let (mut prompts, mut answers, mut steps) = (0.0, 0.0, 0);
        while steps < self.load.new {
            let started = Instant::now();
            let batch = scheduler
                .schedule()
                .context("the sequences ended too early")?;
            let all_generate = batch.rows.len() == self.load.sequences
                && batch.rows.iter().all(|row| row.prompt_tokens == 0);
            self.finish(&mut scheduler, batch)?;
            let seconds = started.elapsed().as_secs_f64();
            if all_generate {
                (answers, steps) = (answers + seconds, steps + 1)
            } else {
                prompts += seconds
            }
        }
        let stats = scheduler.stats();
        ensure!(stats.preemptions == 0, "a sequence was preempted");
        ensure!(stats.prefix_hits == 0, "a prompt was found in the cache");
        Ok(PassSeconds { prompts, answers })
    }

    /// Seconds of all steps of a load whose sequences end with their `max_tokens`-th token.
    ///
    /// # Errors
    /// A step failed, or a prompt was not computed.
    pub fn to_the_end(&mut self, load: Load, max_tokens: usize) -> anyhow::Result<f64> {
        let mut scheduler = self.scheduler(load, max_tokens, &[None])?;
        let started = Instant::now();
        while let Some(batch) = scheduler.schedule() {
            self.finish(&mut scheduler, batch)?;
        }
        let seconds = started.elapsed().as_secs_f64();
        let stats = scheduler.stats();
        ensure!(stats.prefix_hits == 0, "a prompt was found in the cache");
        Ok(seconds)
    }

    /// The rest of a step: compute, sample, commit.
    fn finish(&mut self, scheduler: &mut Scheduler, batch: Batch) -> anyhow::Result<()> {
        let sampled = self.runner.execute(&batch)?;
        scheduler.commit(batch, sampled);
        Ok(())
    }

    /// A new scheduler with an empty cache and the sequences of the load.
    fn scheduler(
        &self,
        load: Load,
        max_tokens: usize,
        adapters: &[Option<AdapterId>],
    ) -> anyhow::Result<Scheduler> {
        let mut scheduler = Scheduler::new(self.limits)?;
        let params = Arc::new(SamplingParams {
            temperature: 0.0,
            ..SamplingParams::default()
        });
        for sequence in 0..load.sequences {
            scheduler.add(SequenceRequest {
                id: SequenceId(sequence as u64),
                prompt: (0..load.context)
                    .map(|position| prompt_token(sequence, position))
                    .collect(),
                adapter: adapters[sequence % adapters.len()],
                cache_salt: None,
                params: params.clone(),
                max_tokens,
                siblings: 1,
                stop_token_ids: [].into(),
                prompt_logprobs: None,
            })?;
        }
        Ok(scheduler)
    }
}

/// The token ids of llama.cpp's side. Their values do not affect the time.
fn prompt_token(sequence: usize, position: usize) -> u32 {
    5 + ((position * 37 + sequence * 101) % 40_000) as u32
}
