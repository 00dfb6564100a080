//! Turns a batch into sampled tokens.

use std::{ops::Range, sync::Arc};

use candle_core::Tensor;
use farthing_ops::{
    SampleFault, SampleResult, SampleSpec, Sampled, is_lost, sample, token_logprobs,
};
use farthing_scheduler::{
    AdapterId, Batch, BatchRow, SampleRow, SampledToken, TokenLogprob, TokenLogprobs,
};

use crate::{
    AdapterPoolStats, DeviceKind, KvCache, Llama, LoraAdapter, ModelError, RunnerConfig,
    adapter_pool::AdapterPool,
    error::{plain, room_for},
    flat_batch::FlatBatch,
    gpu_steps::{GpuSteps, Parts},
    input::ModelInput,
    lora_stacks::LoraStacks,
    workspace::Workspace,
};

/// Owns everything on the device. It computes the rows of a batch and makes no scheduling
/// decisions.
pub struct ModelRunner {
    model: Llama,
    cache: KvCache,
    adapters: AdapterPool,
    workspace: Workspace,
    /// The GPU side of steps; `None` on the CPU.
    gpu: Option<GpuSteps>,
    device_seconds: Option<f64>,
}

impl ModelRunner {
    /// Allocates cache and workspace for the model.
    pub fn new(model: Llama, config: RunnerConfig) -> Result<Self, ModelError> {
        let RunnerConfig {
            num_blocks,
            max_num_seqs,
            max_num_batched_tokens,
            ..
        } = config;
        let cache = room_for(
            "the KV cache",
            KvCache::new(
                model.config(),
                num_blocks,
                config.compute_type,
                config.device,
            ),
        )?;
        let workspace = room_for(
            "the activations of a step",
            Workspace::new(
                model.config(),
                max_num_batched_tokens,
                max_num_seqs,
                (config.compute_type, config.device),
            ),
        )?;
        let (gpu, stacks) = match config.device {
            DeviceKind::Cpu => (None, None),
            DeviceKind::Cuda(_) => {
                let steps = GpuSteps::new(&model, config, cache.device());
                let steps = room_for("what a step sends and receives", steps)?;
                let stacks = match config.max_adapters {
                    0 => None,
                    _ => {
                        let stacks = LoraStacks::new(model.config(), config, cache.device());
                        Some(room_for("the adapters' slots", stacks)?)
                    }
                };
                (Some(steps), stacks)
            }
        };
        let mut runner = Self {
            model,
            cache,
            adapters: AdapterPool::new(config.max_adapters, stacks),
            workspace,
            gpu,
            device_seconds: None,
        };
        if let Some(gpu) = &mut runner.gpu {
            let parts = Parts {
                model: &runner.model,
                cache: &runner.cache,
                workspace: &runner.workspace,
                stacks: runner.adapters.stacks(),
            };
            room_for("the graphs of decode steps", gpu.record_graphs(parts))?;
        }
        Ok(runner)
    }

    /// Makes an adapter available to rows that name it. Each call needs one
    /// [`release_adapter`](Self::release_adapter). The adapter is copied to the device now if a
    /// slot is free, and otherwise with its first step.
    pub fn add_adapter(&mut self, adapter: impl Into<Arc<LoraAdapter>>) {
        self.adapters.hold(adapter.into());
    }

    /// Reverts one [`add_adapter`](Self::add_adapter). Returns `true` for the last one. The adapter
    /// stays on the device until its slot is needed.
    pub fn release_adapter(&mut self, id: AdapterId) -> bool {
        self.adapters.release(id)
    }

    /// Copies an adapter to the device if a slot is free, ahead of the rows that will name it.
    pub fn prefetch_adapter(&mut self, adapter: Arc<LoraAdapter>) {
        self.adapters.prefetch(adapter);
    }

    /// Frees the slot of an adapter that will not be named again, once no sequence uses it.
    pub fn retire_adapter(&mut self, id: AdapterId) {
        self.adapters.retire(id);
    }

    /// Which adapters are on the device, and the counters of loads and evictions.
    pub fn adapter_stats(&self) -> AdapterPoolStats {
        self.adapters.stats()
    }

    /// Computes one step: fills the cache and returns one result per row of the batch.
    ///
    /// # Errors
    /// The step failed as a whole, and the new cache contents of its rows are invalid. After
    /// [`ModelError::DeviceLost`] no further step can succeed.
    pub fn execute(&mut self, batch: &Batch) -> Result<Vec<SampledToken>, ModelError> {
        self.device_seconds = None;
        self.try_execute(batch).map_err(|error| self.explain(error))
    }

    /// Device seconds of the last step, if the device has a clock of its own.
    pub fn device_seconds(&self) -> Option<f64> {
        self.device_seconds
    }

    /// Computes one step and returns the logits of every new token, `[tokens, vocab]`, in the order
    /// of the batch. For comparison with a reference implementation.
    pub fn logits(&mut self, batch: &Batch) -> Result<Vec<Vec<f32>>, ModelError> {
        self.adapters.prepare(batch)?;
        let flat = FlatBatch::new(batch);
        let (hidden, _) = self.step(&flat, &[], &[])?;
        let tokens: Vec<u32> = (0..flat.token_ids.len() as u32).collect();
        let mut logits = Vec::with_capacity(tokens.len());
        for tokens in tokens.chunks(self.workspace.max_logit_rows()) {
            logits.extend(self.logits_of(&flat, &hidden, tokens)?.to_vec2::<f32>()?);
        }
        let in_batch_order = flat.row_tokens.iter().cloned().flatten();
        Ok(in_batch_order
            .map(|token| std::mem::take(&mut logits[token]))
            .collect())
    }

    fn try_execute(&mut self, batch: &Batch) -> Result<Vec<SampledToken>, ModelError> {
        self.adapters.prepare(batch)?;
        let flat = FlatBatch::new(batch);
        let (sampled_rows, last_tokens) = flat.samples(batch);
        let samples = sampled_rows
            .iter()
            .filter_map(|&i| batch.rows[i].sample.as_ref());
        let specs: Vec<_> = samples.map(sample_spec).collect();
        let (hidden, sampled) = self.step(&flat, &last_tokens, &specs)?;
        let mut results = vec![SampledToken::default(); batch.rows.len()];
        for ((row, tokens), result) in batch.rows.iter().zip(&flat.row_tokens).zip(&mut results) {
            if let Some(top) = row.prompt_logprobs {
                match self.prompt_logprobs(&flat, &hidden, row, tokens, top)? {
                    Ok(logprobs) => result.prompt_logprobs = logprobs,
                    Err(fault) => result.fail(fault),
                }
            }
        }
        for (i, sampled) in sampled_rows.into_iter().zip(sampled) {
            match sampled {
                Ok(sampled) => {
                    results[i].token = Some(sampled.token);
                    results[i].logprobs = into_logprobs(sampled);
                }
                Err(fault) => results[i].fail(fault),
            }
        }
        Ok(results)
    }

    /// Runs all layers over the batch and samples after each of `last_tokens` (ascending) with the
    /// corresponding spec. The hidden states are `[tokens, hidden]`, a view of the workspace.
    fn step(
        &mut self,
        flat: &FlatBatch<'_>,
        last_tokens: &[u32],
        specs: &[SampleSpec<'_>],
    ) -> Result<(Tensor, Vec<SampleResult>), ModelError> {
        let Some(gpu) = &mut self.gpu else {
            return self.step_on_cpu(flat, last_tokens, specs);
        };
        let parts = Parts {
            model: &self.model,
            cache: &self.cache,
            workspace: &self.workspace,
            stacks: self.adapters.stacks(),
        };
        let slot_of = |id| self.adapters.slot(id);
        let step = gpu.step(parts, flat, slot_of, last_tokens, specs)?;
        self.device_seconds = Some(gpu.seconds()?);
        Ok(step)
    }

    fn step_on_cpu(
        &self,
        flat: &FlatBatch<'_>,
        last_tokens: &[u32],
        specs: &[SampleSpec<'_>],
    ) -> Result<(Tensor, Vec<SampleResult>), ModelError> {
        let input = ModelInput::on_cpu(flat, &self.adapters)?;
        let hidden = self.model.forward(&input, &self.cache, &self.workspace)?;
        let sampled = match specs {
            [] => Vec::new(),
            _ => sample(&self.logits_of(flat, &hidden, last_tokens)?, specs)?,
        };
        Ok((hidden, sampled))
    }

    /// Logits of some tokens of a step, which are given in ascending order.
    fn logits_of(
        &self,
        flat: &FlatBatch<'_>,
        hidden: &Tensor,
        tokens: &[u32],
    ) -> Result<Tensor, ModelError> {
        let adapters = match self.gpu {
            Some(_) => Vec::new(),
            None => flat
                .adapters_of(tokens)
                .map(|(id, tokens)| Ok((tokens, self.adapters.get(id)?)))
                .collect::<Result<_, ModelError>>()?,
        };
        let tokens = Tensor::new(tokens, hidden.device())?;
        self.model
            .logits(hidden, &tokens, adapters, &self.workspace)
    }

    /// Replaces an error by [`ModelError::DeviceLost`] if the device has failed.
    fn explain(&self, error: ModelError) -> ModelError {
        match error {
            ModelError::Tensor(source) if is_lost(self.cache.device()) => {
                ModelError::DeviceLost(plain(&source))
            }
            other => other,
        }
    }

    /// Log-probabilities of the prompt tokens that follow the tokens of this row.
    fn prompt_logprobs(
        &self,
        flat: &FlatBatch<'_>,
        hidden: &Tensor,
        row: &BatchRow,
        tokens: &Range<usize>,
        top: usize,
    ) -> Result<Result<Vec<TokenLogprobs>, SampleFault>, ModelError> {
        let mut followers = row.tokens[..row.prompt_tokens].to_vec();
        followers.extend(row.next_prompt_token);
        let mut logprobs = Vec::with_capacity(followers.len());
        let predicting: Vec<u32> = tokens.clone().map(|token| token as u32).collect();
        let predicted = predicting
            .iter()
            .copied()
            .zip(followers.into_iter().skip(1))
            .collect::<Vec<_>>();
        for predicted in predicted.chunks(self.workspace.max_logit_rows()) {
            let (rows, followers): (Vec<u32>, Vec<u32>) = predicted.iter().copied().unzip();
            let logits = self.logits_of(flat, hidden, &rows)?;
            let sampled = token_logprobs(&logits, &followers, top)?;
            for sampled in sampled {
                match sampled {
                    Ok(sampled) => logprobs.extend(into_logprobs(sampled)),
                    Err(fault) => return Ok(Err(fault)),
                }
            }
        }
        Ok(Ok(logprobs))
    }
}

fn sample_spec(row: &SampleRow) -> SampleSpec<'_> {
    let params = &row.params;
    SampleSpec {
        temperature: params.temperature,
        top_p: params.top_p,
        top_k: params.top_k,
        min_p: params.min_p,
        presence_penalty: params.presence_penalty,
        frequency_penalty: params.frequency_penalty,
        repetition_penalty: params.repetition_penalty,
        logit_bias: &params.logit_bias,
        history: &row.history,
        history_prompt_tokens: row.history_prompt_tokens,
        seed: params.seed,
        position: row.position,
        logprobs: params.logprobs,
    }
}

fn into_logprobs(sampled: Sampled) -> Option<TokenLogprobs> {
    let top = sampled
        .top
        .into_iter()
        .map(|(token, logprob)| TokenLogprob { token, logprob });
    Some(TokenLogprobs {
        chosen: TokenLogprob {
            token: sampled.token,
            logprob: sampled.logprob?,
        },
        top: top.collect(),
    })
}
