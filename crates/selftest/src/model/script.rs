//! The sequences of the comparison, and the scheduler that plans their steps.

use std::sync::Arc;

use farthing_scheduler::{
    AdapterId, Batch, SampledToken, SamplingParams, Scheduler, SchedulerConfig, SequenceId,
    SequenceRequest,
};

use super::{ADAPTER_SLOTS, MAX_MODEL_LEN, MAX_ROWS, MAX_STEP_TOKENS, NUM_BLOCKS, adapters};
use crate::side::Random;
use farthing_model::{BLOCK_SIZE, ModelError};

pub(super) const VOCAB: usize = 500;

/// Tokens per answer.
const ANSWER_TOKENS: usize = 16;
/// A common prefix of two and a half blocks.
const SHARED_TOKENS: usize = 40;
/// Prompt lengths around the edges of blocks and steps.
const PROMPT_TOKENS: [usize; 9] = [17, 1, 33, 95, 16, 70, 15, 48, 41];
/// Tokens that biases make likely, so that penalties have an effect.
const FAVOURED: [u32; 3] = [7, VOCAB as u32 - 1, 64];

/// Sampling parameters of some sequences.
#[derive(Clone, Debug)]
pub(super) struct Kind {
    pub name: &'static str,
    pub params: SamplingParams,
}

impl Kind {
    /// Greedy sampling, then every parameter that changes the choice, each alone if it has an
    /// effect alone.
    pub(super) fn all() -> Vec<Self> {
        let plain = SamplingParams {
            // Few tokens are likely, so that a boundary between tokens seldom decides.
            temperature: 0.2,
            logprobs: Some(4),
            seed: 11,
            ..SamplingParams::default()
        };
        let favoured = SamplingParams {
            logit_bias: FAVOURED.map(|token| (token, 12.0)).to_vec(),
            ..plain.clone()
        };
        let kinds = [
            (
                "greedy",
                SamplingParams {
                    temperature: 0.0,
                    ..plain.clone()
                },
            ),
            ("drawn", plain.clone()),
            (
                "drawn, temperature",
                SamplingParams {
                    temperature: 0.1,
                    ..plain.clone()
                },
            ),
            (
                "drawn, seed",
                SamplingParams {
                    seed: 0x0123_4567_89ab_cdef,
                    ..plain.clone()
                },
            ),
            (
                "drawn, top_p",
                SamplingParams {
                    top_p: 0.2,
                    ..plain.clone()
                },
            ),
            (
                "drawn, top_k",
                SamplingParams {
                    top_k: 3,
                    temperature: 2.0,
                    ..plain.clone()
                },
            ),
            (
                "drawn, min_p",
                SamplingParams {
                    min_p: 0.3,
                    temperature: 0.5,
                    ..plain.clone()
                },
            ),
            ("drawn, logit_bias", favoured.clone()),
            (
                "drawn, presence_penalty",
                SamplingParams {
                    presence_penalty: 20.0,
                    ..favoured.clone()
                },
            ),
            (
                "drawn, frequency_penalty",
                SamplingParams {
                    frequency_penalty: 15.0,
                    ..favoured.clone()
                },
            ),
            (
                "drawn, repetition_penalty",
                SamplingParams {
                    repetition_penalty: 8.0,
                    ..favoured.clone()
                },
            ),
            (
                "drawn, all parameters, 20 logprobs",
                SamplingParams {
                    temperature: 0.8,
                    top_p: 0.9,
                    top_k: 40,
                    min_p: 0.01,
                    presence_penalty: 0.5,
                    frequency_penalty: 0.5,
                    repetition_penalty: 1.2,
                    logprobs: Some(20),
                    ..favoured
                },
            ),
        ];
        let kind = |(name, params)| Self { name, params };
        kinds.into_iter().map(kind).collect()
    }

    /// Whether the most likely token of the reported distribution is chosen.
    pub(super) fn is_greedy(&self) -> bool {
        self.params.temperature == 0.0
    }
}

/// All sequences in a scheduler.
pub(super) struct Script {
    pub scheduler: Scheduler,
    kinds: Vec<Kind>,
    /// Kind of each sequence, by its number.
    kind_of: Vec<usize>,
    random: Random,
}

impl Script {
    pub(super) fn new(has_gains: bool) -> Result<Self, ModelError> {
        let limits = SchedulerConfig {
            block_size: BLOCK_SIZE,
            num_blocks: NUM_BLOCKS,
            max_num_seqs: MAX_ROWS,
            max_num_batched_tokens: MAX_STEP_TOKENS,
            max_model_len: MAX_MODEL_LEN,
            max_adapters: ADAPTER_SLOTS,
        };
        let mut script = Self {
            scheduler: Scheduler::new(limits).map_err(|e| ModelError::Config(e.to_string()))?,
            kinds: Kind::all(),
            kind_of: Vec::new(),
            random: Random::new(21),
        };
        let whose: Vec<_> = [None]
            .into_iter()
            .chain(adapters(has_gains).map(|(_, it)| Some(AdapterId([it.seed; 32]))))
            .collect();
        // Greedy: three sequences of each adapter. The later ones find the blocks of the first.
        let shared = script.tokens(SHARED_TOKENS);
        for round in 0..3 {
            for adapter in &whose {
                let own = PROMPT_TOKENS[(script.kind_of.len() + round) % PROMPT_TOKENS.len()];
                let prompt = match round {
                    0 => script.tokens(own),
                    _ => [shared.clone(), script.tokens(own.min(20))].concat(),
                };
                let prompt_logprobs = (round == 0).then_some(2);
                script.add(0, *adapter, prompt, prompt_logprobs)?;
            }
        }
        for kind in 1..script.kinds.len() {
            let own = PROMPT_TOKENS[kind % PROMPT_TOKENS.len()].min(50);
            let prompt = [script.tokens(own), FAVOURED.to_vec()].concat();
            script.add(kind, whose[kind % whose.len()], prompt, None)?;
        }
        Ok(script)
    }

    fn tokens(&mut self, len: usize) -> Vec<u32> {
        let token = |_| self.random.below(VOCAB) as u32;
        (0..len).map(token).collect()
    }

    fn add(
        &mut self,
        kind: usize,
        adapter: Option<AdapterId>,
        prompt: Vec<u32>,
        prompt_logprobs: Option<usize>,
    ) -> Result<(), ModelError> {
        let request = SequenceRequest {
            id: SequenceId(self.kind_of.len() as u64),
            prompt,
            adapter,
            cache_salt: None,
            params: Arc::new(self.kinds[kind].params.clone()),
            max_tokens: ANSWER_TOKENS,
            siblings: 1,
            stop_token_ids: Arc::new([]),
            prompt_logprobs,
        };
        self.kind_of.push(kind);
        let added = self.scheduler.add(request);
        added.map_err(|e| ModelError::Config(e.to_string()))
    }

    pub(super) fn kind_of(&self, sequence: SequenceId) -> &Kind {
        &self.kinds[self.kind_of[sequence.0 as usize]]
    }

    /// Continues with these tokens.
    pub(super) fn commit(&mut self, batch: Batch, sampled: Vec<SampledToken>) {
        self.scheduler.commit(batch, sampled);
    }
}
