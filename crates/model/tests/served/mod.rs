//! A model behind a real scheduler, stepped until all sequences are finished; and a runner that
//! returns the logits of given tokens.

#![allow(dead_code, reason = "each test file takes the half it needs")]

use std::{
    collections::{HashMap, HashSet},
    path::Path,
    sync::Arc,
};

use candle_core::{Device, Tensor};
use farthing_model::{
    BLOCK_SIZE, Checkpoint, ComputeType, DeviceKind, Llama, LoadFormat, ModelRunner, RunnerConfig,
};
use farthing_scheduler::{
    AdapterId, Batch, BatchRow, BlockId, FinishReason, SamplingParams, Scheduler, SchedulerConfig,
    SchedulerStats, SequenceId, SequenceRequest,
};

/// The capacity for tokens.
#[derive(Clone, Copy)]
pub(crate) struct Room {
    pub(crate) num_blocks: usize,
    pub(crate) max_num_batched_tokens: usize,
}

pub(crate) const MAX_NUM_SEQS: usize = 32;
const MAX_ADAPTERS: usize = 4;

/// The model of a directory or GGUF file in f32.
pub(crate) fn runner(path: &Path, room: Room) -> ModelRunner {
    let checkpoint = Checkpoint::open(path, LoadFormat::Auto, 0).unwrap();
    runner_of(
        &checkpoint,
        room,
        checkpoint.config().max_position_embeddings,
    )
}

/// The model of a checkpoint in f32, for sequences of at most `max_positions` tokens.
pub(crate) fn runner_of(checkpoint: &Checkpoint, room: Room, max_positions: usize) -> ModelRunner {
    let model = Llama::load(checkpoint, max_positions, ComputeType::F32, DeviceKind::Cpu).unwrap();
    let config = RunnerConfig {
        num_blocks: room.num_blocks,
        max_num_seqs: MAX_NUM_SEQS,
        max_num_batched_tokens: room.max_num_batched_tokens,
        max_adapters: MAX_ADAPTERS,
        max_lora_rank: 64,
        compute_type: ComputeType::F32,
        device: DeviceKind::Cpu,
    };
    ModelRunner::new(model, config).unwrap()
}

/// A prompt whose logits are requested.
#[derive(Clone)]
pub(crate) struct Told {
    pub(crate) tokens: Vec<u32>,
    pub(crate) adapter: Option<AdapterId>,
}

/// Logits at every position of every prompt, `[prompts][tokens][vocab]`, all prompts in one
/// batch, `chunk` tokens of each a step. The prompts' blocks lie scattered: interleaved, and from
/// the cache's end to its beginning.
pub(crate) fn logits(
    runner: &mut ModelRunner,
    prompts: &[Told],
    chunk: usize,
) -> Vec<Vec<Vec<f32>>> {
    let longest = prompts
        .iter()
        .map(|prompt| prompt.tokens.len())
        .max()
        .unwrap();
    let last_block = prompts.len() * longest.div_ceil(BLOCK_SIZE) - 1;
    let mut logits = vec![Vec::new(); prompts.len()];
    for start in (0..longest).step_by(chunk) {
        let computed: Vec<usize> = (0..prompts.len())
            .filter(|&i| start < prompts[i].tokens.len())
            .collect();
        let row = |&i: &usize| {
            let Told { tokens, adapter } = &prompts[i];
            let end = tokens.len().min(start.saturating_add(chunk));
            let block = |b: usize| BlockId((last_block - b * prompts.len() - i) as u32);
            BatchRow {
                sequence: SequenceId(i as u64),
                tokens: tokens[start..end].to_vec(),
                start,
                prompt_tokens: end - start,
                block_table: (0..end.div_ceil(BLOCK_SIZE)).map(block).collect(),
                adapter: *adapter,
                sample: None,
                prompt_logprobs: None,
                next_prompt_token: None,
            }
        };
        let batch = Batch {
            rows: computed.iter().map(row).collect(),
        };
        let mut told = runner.logits(&batch).unwrap().into_iter();
        for (i, row) in computed.into_iter().zip(&batch.rows) {
            logits[i].extend(told.by_ref().take(row.tokens.len()));
        }
        assert!(told.next().is_none(), "more logits than tokens");
    }
    logits
}

/// Scheduler and runner in a loop, like the engine's step loop.
pub(crate) struct Served {
    pub(crate) scheduler: Scheduler,
    runner: ModelRunner,
    answers: HashMap<SequenceId, Answer>,
    /// Sequences that have had a step.
    begun: HashSet<SequenceId>,
}

/// The result of a sequence.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Answer {
    pub(crate) tokens: Vec<u32>,
    pub(crate) finished: Option<FinishReason>,
    pub(crate) cached_tokens: usize,
    pub(crate) preemptions: usize,
}

impl Served {
    pub(crate) fn new(runner: ModelRunner, room: Room, max_model_len: usize) -> Self {
        let config = SchedulerConfig {
            block_size: BLOCK_SIZE,
            num_blocks: room.num_blocks,
            max_num_seqs: MAX_NUM_SEQS,
            max_num_batched_tokens: room.max_num_batched_tokens,
            max_model_len,
            max_adapters: MAX_ADAPTERS,
        };
        Self {
            scheduler: Scheduler::new(config).unwrap(),
            runner,
            answers: HashMap::new(),
            begun: HashSet::new(),
        }
    }

    /// Queues a greedy continuation without stop tokens.
    pub(crate) fn add(
        &mut self,
        id: u64,
        prompt: &[u32],
        max_tokens: usize,
        adapter: Option<AdapterId>,
    ) -> SequenceId {
        let id = SequenceId(id);
        let greedy = SamplingParams {
            temperature: 0.0,
            ..SamplingParams::default()
        };
        let request = SequenceRequest {
            id,
            prompt: prompt.to_vec(),
            adapter,
            cache_salt: None,
            params: Arc::new(greedy),
            max_tokens,
            siblings: 1,
            stop_token_ids: [].into(),
            prompt_logprobs: None,
        };
        self.scheduler.add(request).unwrap();
        self.answers.insert(id, Answer::default());
        id
    }

    /// Steps until all sequences have ended, and returns the answers of all that were ever added.
    pub(crate) fn run(&mut self) -> &HashMap<SequenceId, Answer> {
        while let Some(batch) = self.scheduler.schedule() {
            for row in &batch.rows {
                if self.begun.insert(row.sequence) {
                    self.answers.get_mut(&row.sequence).unwrap().cached_tokens = row.start;
                }
            }
            let sampled = self.runner.execute(&batch).unwrap();
            for output in self.scheduler.commit(batch, sampled) {
                let answer = self.answers.get_mut(&output.sequence).unwrap();
                answer.tokens.extend(output.sampled.token);
                answer.finished = output.finished;
                answer.preemptions = output.preemptions;
            }
        }
        let SchedulerStats {
            free_blocks,
            total_blocks,
            ..
        } = self.scheduler.stats();
        assert!(
            self.scheduler.is_idle(),
            "the scheduler plans nothing, but is not idle"
        );
        assert_eq!(free_blocks, total_blocks, "blocks were not given back");
        &self.answers
    }
}

/// The tensors of a fixture.
pub(crate) struct Fixture(HashMap<String, Tensor>);

impl Fixture {
    pub(crate) fn read(path: &Path) -> Self {
        Self(candle_core::safetensors::load(path, &Device::Cpu).unwrap())
    }

    pub(crate) fn tokens(&self, name: &str) -> Vec<u32> {
        self.0[name].to_vec1().unwrap()
    }

    pub(crate) fn values(&self, name: &str) -> Vec<f32> {
        self.0[name].to_vec1().unwrap()
    }

    pub(crate) fn rows(&self, name: &str) -> Vec<Vec<f32>> {
        self.0[name].to_vec2().unwrap()
    }
}

/// The largest absolute difference of two tables of the same shape; infinite for NaN.
pub(crate) fn max_difference(found: &[Vec<f32>], expected: &[Vec<f32>]) -> f32 {
    assert_eq!(
        found.len(),
        expected.len(),
        "not the same number of positions"
    );
    let mut largest = 0.0_f32;
    for (found, expected) in found.iter().zip(expected) {
        assert_eq!(found.len(), expected.len(), "not the same number of logits");
        for (found, expected) in found.iter().zip(expected) {
            let difference = (found - expected).abs();
            largest = largest.max(if difference.is_nan() {
                f32::INFINITY
            } else {
                difference
            });
        }
    }
    largest
}

/// The index of the largest value.
pub(crate) fn argmax(logits: &[f32]) -> u32 {
    let largest = logits.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1));
    largest.unwrap().0 as u32
}
