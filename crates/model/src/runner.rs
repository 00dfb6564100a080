//! Turns a batch into sampled tokens.

use std::{ops::Range, sync::Arc};

use candle_core::Tensor;
use farthing_ops::{SampleSpec, Sampled, sample, token_logprobs};
use farthing_scheduler::{
    AdapterId, Batch, BatchRow, SampleRow, SampledToken, TokenLogprob, TokenLogprobs,
};

use crate::{
    AdapterPoolStats, ComputeType, DeviceKind, KvCache, Llama, LoraAdapter, ModelError,
    adapter_pool::AdapterPool, input::ModelInput, workspace::Workspace,
};

/// How large a step may get.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RunnerConfig {
    /// Blocks of the KV cache.
    pub num_blocks: usize,
    /// Sequences of a batch.
    pub max_num_seqs: usize,
    /// New tokens of a batch.
    pub max_num_batched_tokens: usize,
    /// Adapters on the device, and so of a batch.
    pub max_adapters: usize,
    /// Type of the KV cache.
    pub compute_type: ComputeType,
    /// Where it all lives.
    pub device: DeviceKind,
}

/// Owns everything on the device. It computes the rows it is given and chooses nothing.
pub struct ModelRunner {
    model: Llama,
    cache: KvCache,
    adapters: AdapterPool,
    workspace: Workspace,
}

/// A batch and what all layers made of it.
struct Step<'a> {
    input: ModelInput<'a>,
    hidden: Tensor, // [tokens, hidden], a view of the workspace
}

impl ModelRunner {
    /// Reserves cache and workspace for the model.
    pub fn new(model: Llama, config: RunnerConfig) -> Result<Self, ModelError> {
        let RunnerConfig {
            num_blocks,
            max_num_seqs,
            max_num_batched_tokens,
            ..
        } = config;
        let cache = KvCache::new(
            model.config(),
            num_blocks,
            config.compute_type,
            config.device,
        )?;
        let workspace = Workspace::new(
            model.config(),
            max_num_batched_tokens,
            max_num_seqs,
            config.device,
        )?;
        Ok(Self {
            model,
            cache,
            adapters: AdapterPool::new(config.max_adapters),
            workspace,
        })
    }

    /// Makes an adapter available to the rows that name it, until as many
    /// [`release_adapter`](Self::release_adapter) have come. It goes to the device now where there
    /// is a slot to spare, and at the latest with its first step.
    pub fn add_adapter(&mut self, adapter: impl Into<Arc<LoraAdapter>>) {
        self.adapters.hold(adapter.into());
    }

    /// Takes one [`add_adapter`](Self::add_adapter) back; `true` with the last. The adapter stays
    /// on the device while its slot is not needed.
    pub fn release_adapter(&mut self, id: AdapterId) -> bool {
        self.adapters.release(id)
    }

    /// Brings an adapter to the device that rows will soon name, where there is a slot to spare.
    pub fn prefetch_adapter(&mut self, adapter: Arc<LoraAdapter>) {
        self.adapters.prefetch(adapter);
    }

    /// Frees the slot of an adapter that is not coming back, once nobody holds it any more.
    pub fn retire_adapter(&mut self, id: AdapterId) {
        self.adapters.retire(id);
    }

    /// Which adapters are on the device, and how well that went.
    pub fn adapter_stats(&self) -> AdapterPoolStats {
        self.adapters.stats()
    }

    /// Computes one step: the cache of every row, and one entry a row of the batch.
    ///
    /// # Errors
    /// The step failed as a whole; the cache blocks of its rows hold nothing of use.
    pub fn execute(&mut self, batch: &Batch) -> Result<Vec<SampledToken>, ModelError> {
        self.adapters.prepare(batch)?;
        let step = self.forward(batch)?;
        let mut results = vec![SampledToken::default(); batch.rows.len()];
        let tokens = &step.input.row_tokens;
        for ((row, tokens), result) in batch.rows.iter().zip(tokens).zip(&mut results) {
            if let Some(top) = row.prompt_logprobs {
                result.prompt_logprobs = self.prompt_logprobs(&step, row, tokens, top)?;
            }
        }
        self.sample(&step, batch, &mut results)?;
        Ok(results)
    }

    /// Computes one step and returns the logits of every new token, `[tokens, vocab]`, the rows'
    /// tokens in the batch's order: what a reference implementation is compared with.
    pub fn logits(&mut self, batch: &Batch) -> Result<Vec<Vec<f32>>, ModelError> {
        self.adapters.prepare(batch)?;
        let step = self.forward(batch)?;
        let tokens: Vec<u32> = (0..step.input.num_tokens() as u32).collect();
        let mut logits = Vec::with_capacity(tokens.len());
        for tokens in tokens.chunks(self.workspace.max_logit_rows()) {
            logits.extend(self.step_logits(&step, tokens)?.to_vec2::<f32>()?);
        }
        let in_batch_order = step.input.row_tokens.iter().cloned().flatten();
        Ok(in_batch_order
            .map(|token| std::mem::take(&mut logits[token]))
            .collect())
    }

    fn forward(&self, batch: &Batch) -> Result<Step<'_>, ModelError> {
        let input = ModelInput::new(batch, &self.adapters, self.cache.device())?;
        let hidden = self.model.forward(&input, &self.cache, &self.workspace)?;
        Ok(Step { input, hidden })
    }

    /// Logits of some tokens of the step, given in ascending order.
    fn step_logits(&self, step: &Step<'_>, tokens: &[u32]) -> Result<Tensor, ModelError> {
        self.model
            .logits(&step.hidden, tokens, &step.input, &self.workspace)
    }

    /// Samples the rows that reached the end of their sequence.
    fn sample(
        &self,
        step: &Step<'_>,
        batch: &Batch,
        results: &mut [SampledToken],
    ) -> Result<(), ModelError> {
        let row_tokens = &step.input.row_tokens;
        let mut sampled_rows: Vec<usize> = (0..batch.rows.len())
            .filter(|&i| batch.rows[i].sample.is_some())
            .collect();
        sampled_rows.sort_by_key(|&i| row_tokens[i].start);
        let specs = sampled_rows.iter().filter_map(|&i| {
            let sample = batch.rows[i].sample.as_ref()?;
            Some(sample_spec(sample))
        });
        let specs: Vec<_> = specs.collect();
        if specs.is_empty() {
            return Ok(());
        }
        let last_token = |&i: &usize| row_tokens[i].end as u32 - 1;
        let last_tokens: Vec<u32> = sampled_rows.iter().map(last_token).collect();
        let logits = self.step_logits(step, &last_tokens)?;
        for (i, sampled) in sampled_rows.into_iter().zip(sample(&logits, &specs)?) {
            results[i].token = Some(sampled.token);
            results[i].logprobs = into_logprobs(sampled);
        }
        Ok(())
    }

    /// Log-probabilities of the prompt tokens that follow the tokens of this row.
    fn prompt_logprobs(
        &self,
        step: &Step<'_>,
        row: &BatchRow,
        tokens: &Range<usize>,
        top: usize,
    ) -> Result<Vec<TokenLogprobs>, ModelError> {
        let mut followers = row.tokens[..row.prompt_tokens].to_vec();
        followers.extend(row.next_prompt_token);
        let mut logprobs = Vec::with_capacity(followers.len());
        let predicting: Vec<u32> = tokens.clone().map(|token| token as u32).collect();
        let told = predicting
            .iter()
            .copied()
            .zip(followers.into_iter().skip(1))
            .collect::<Vec<_>>();
        for told in told.chunks(self.workspace.max_logit_rows()) {
            let (rows, followers): (Vec<u32>, Vec<u32>) = told.iter().copied().unzip();
            let logits = self.step_logits(step, &rows)?;
            let sampled = token_logprobs(&logits, &followers, top)?;
            logprobs.extend(sampled.into_iter().filter_map(into_logprobs));
        }
        Ok(logprobs)
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
