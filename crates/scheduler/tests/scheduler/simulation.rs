//! A scheduler with a fake runner, and checks of every step.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use farthing_scheduler::{
    AdapterId, AdmissionError, Batch, BatchRow, FinishReason, SamplingParams, Scheduler,
    SchedulerConfig, SequenceId, SequenceOutput, SequenceRequest,
};

use crate::fake_runner::{FakeRunner, next_token};

/// Drives a scheduler and compares its results with the requests.
pub(crate) struct Simulation {
    pub(crate) scheduler: Scheduler,
    pub(crate) config: SchedulerConfig,
    pub(crate) steps: usize,
    runner: FakeRunner,
    lives: BTreeMap<SequenceId, Life>,
}

/// The caller's view of a sequence.
pub(crate) struct Life {
    request: SequenceRequest,
    /// Prompt tokens, then delivered tokens.
    pub(crate) tokens: Vec<u32>,
    /// Prompt tokens whose log-probabilities were returned: (position, token).
    returned: Vec<(usize, u32)>,
    pub(crate) first_step: Option<usize>,
    pub(crate) first_start: usize,
    pub(crate) finished: Option<FinishReason>,
    aborted_in_flight: bool,
}

/// The result of a step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum StepEnd {
    Commit,
    /// The runner returns an error.
    Fail,
    /// The runner returns the results of only this many rows.
    Truncate(usize),
}

impl Simulation {
    pub(crate) fn new(config: SchedulerConfig) -> Self {
        Self {
            scheduler: Scheduler::new(config).unwrap(),
            config,
            steps: 0,
            runner: FakeRunner::new(config.block_size),
            lives: BTreeMap::new(),
        }
    }

    pub(crate) fn add(&mut self, request: SequenceRequest) -> Result<(), AdmissionError> {
        self.scheduler.add(request.clone())?;
        let life = Life {
            tokens: request.prompt.clone(),
            returned: Vec::new(),
            first_step: None,
            first_start: 0,
            finished: None,
            aborted_in_flight: false,
            request,
        };
        self.lives.insert(life.request.id, life);
        self.check_blocks();
        Ok(())
    }

    pub(crate) fn life(&self, id: u64) -> &Life {
        &self.lives[&SequenceId(id)]
    }

    pub(crate) fn lives(&self) -> impl Iterator<Item = &Life> {
        self.lives.values()
    }

    /// Aborts a sequence between two steps.
    pub(crate) fn abort(&mut self, id: SequenceId) {
        let life = self.lives.get_mut(&id).unwrap();
        assert_eq!(self.scheduler.abort(id), life.finished.is_none());
        life.finished.get_or_insert(FinishReason::Abort);
        assert!(!self.scheduler.abort(id), "aborted twice");
        self.check_blocks();
    }

    /// One step, during which the callers of `aborts` leave. Returns the rows; `None` if there was
    /// nothing to do.
    pub(crate) fn step(&mut self, end: StepEnd, aborts: &[SequenceId]) -> Vec<BatchRow> {
        let Some(batch) = self.scheduler.schedule() else {
            assert!(self.scheduler.is_idle(), "sequences left, but no batch");
            return Vec::new();
        };
        self.check_batch(&batch);
        assert!(self.scheduler.schedule().is_none(), "two batches in flight");
        self.check_blocks();
        for row in &batch.rows {
            let life = self.lives.get_mut(&row.sequence).unwrap();
            if life.first_step.is_none() {
                (life.first_step, life.first_start) = (Some(self.steps), row.start);
            }
        }
        for &id in aborts {
            self.abort_in_flight(id, &batch);
        }

        let lives = &self.lives;
        let mut sampled = self
            .runner
            .execute(&batch, |row| &lives[&row.sequence].tokens);
        let rows = copy_rows(&batch);
        let (kept, outputs) = match end {
            StepEnd::Commit => (rows.len(), self.scheduler.commit(batch, sampled)),
            StepEnd::Fail => (0, self.scheduler.fail(batch)),
            StepEnd::Truncate(kept) => {
                sampled.truncate(kept);
                (sampled.len(), self.scheduler.commit(batch, sampled))
            }
        };
        self.runner.spoil(&rows[kept..]);
        assert_eq!(outputs.len(), rows.len());
        for (index, (row, output)) in rows.iter().zip(outputs).enumerate() {
            self.deliver(row, output, index < kept);
        }
        self.steps += 1;
        self.check_blocks();
        rows
    }

    /// Steps until every sequence has ended. Then checks that each got all its tokens and that
    /// every block is free.
    pub(crate) fn drain(&mut self) {
        while !self.scheduler.is_idle() {
            self.step(StepEnd::Commit, &[]);
            assert!(self.steps < 100_000, "it never ends");
        }
        let stats = self.scheduler.stats();
        assert_eq!((stats.running, stats.waiting), (0, 0));
        assert_eq!(stats.free_blocks, stats.total_blocks);
        self.lives().for_each(|life| life.check(&self.config));
    }

    fn abort_in_flight(&mut self, id: SequenceId, batch: &Batch) {
        let life = self.lives.get_mut(&id).unwrap();
        let in_flight = batch.rows.iter().any(|row| row.sequence == id);
        let alive = life.finished.is_none() && !life.aborted_in_flight;
        assert_eq!(self.scheduler.abort(id), alive);
        if in_flight {
            life.aborted_in_flight = true;
        } else {
            life.finished.get_or_insert(FinishReason::Abort);
        }
        self.check_blocks();
    }

    fn deliver(&mut self, row: &BatchRow, output: SequenceOutput, computed: bool) {
        assert_eq!(output.sequence, row.sequence);
        let life = self.lives.get_mut(&row.sequence).unwrap();
        assert_eq!(life.finished, None, "it had ended");
        if life.aborted_in_flight {
            assert_eq!(output.finished, Some(FinishReason::Abort));
            assert_eq!(output.sampled.token, None);
        } else if computed {
            assert_eq!(output.sampled.token.is_some(), row.sample.is_some());
            life.tokens.extend(output.sampled.token);
            life.returned.extend(
                output
                    .sampled
                    .prompt_logprobs
                    .iter()
                    .map(|returned| (-returned.chosen.logprob as usize, returned.chosen.token)),
            );
        } else {
            assert_eq!(output.finished, Some(FinishReason::Error));
            assert_eq!(output.sampled.token, None);
        }
        life.finished = output.finished;
    }

    fn check_batch(&self, batch: &Batch) {
        let tokens: usize = batch.rows.iter().map(|row| row.tokens.len()).sum();
        assert!(tokens <= self.config.max_num_batched_tokens);
        assert!(batch.rows.len() <= self.config.max_num_seqs);
        let places = self.config.max_num_seqs;
        assert!(self.scheduler.stats().running <= places + places.div_ceil(8));
        let adapters: BTreeSet<_> = batch.rows.iter().filter_map(|row| row.adapter).collect();
        assert!(adapters.len() <= self.config.max_adapters);
        let sequences: BTreeSet<_> = batch.rows.iter().map(|row| row.sequence).collect();
        assert_eq!(
            sequences.len(),
            batch.rows.len(),
            "two rows of one sequence"
        );
        batch
            .rows
            .iter()
            .for_each(|row| self.lives[&row.sequence].check_row(row));
    }

    fn check_blocks(&self) {
        let stats = self.scheduler.stats();
        assert_eq!(stats.total_blocks, self.config.num_blocks);
        assert_eq!(
            stats.free_blocks + self.scheduler.count_held_blocks(),
            stats.total_blocks
        );
    }
}

impl Life {
    pub(crate) fn output(&self) -> &[u32] {
        &self.tokens[self.request.prompt.len()..]
    }

    pub(crate) fn adapter(&self) -> Option<AdapterId> {
        self.request.adapter
    }

    fn check_row(&self, row: &BatchRow) {
        let prompt_len = self.request.prompt.len();
        let end = row.start + row.tokens.len();
        assert!(!row.tokens.is_empty());
        assert_eq!(row.tokens, self.tokens[row.start..end]);
        assert_eq!(row.adapter, self.request.adapter);
        assert_eq!(
            row.prompt_tokens,
            (row.start..end).filter(|&at| at < prompt_len).count()
        );
        assert_eq!(row.next_prompt_token, self.request.prompt.get(end).copied());

        let wanted = end == self.tokens.len() && self.request.max_tokens > 0;
        assert_eq!(row.sample.is_some(), wanted);
        if let Some(sample) = &row.sample {
            assert!(Arc::ptr_eq(&sample.params, &self.request.params));
            assert_eq!(sample.position, self.output().len() as u64);
            let (history, history_prompt) = if self.request.params.has_penalties() {
                (&self.tokens[..], prompt_len)
            } else {
                (&[][..], 0)
            };
            assert_eq!(sample.history, history);
            assert_eq!(sample.history_prompt_tokens, history_prompt);
        }
    }

    /// The output is what the sequence gives when it runs alone.
    fn check(&self, config: &SchedulerConfig) {
        let request = &self.request;
        let mut tokens = request.prompt.clone();
        let alone = loop {
            if tokens.len() - request.prompt.len() >= request.max_tokens
                || tokens.len() >= config.max_model_len
            {
                break FinishReason::Length;
            }
            let token = next_token(request.adapter, &tokens);
            tokens.push(token);
            if request.stop_token_ids.contains(&token) {
                break FinishReason::Stop;
            }
        };
        let returned: Vec<_> = request.prompt.iter().copied().enumerate().skip(1).collect();
        match self.finished.unwrap() {
            FinishReason::Abort | FinishReason::Error => {
                assert!(tokens.starts_with(&self.tokens));
                assert!(returned.starts_with(&self.returned));
            }
            finished => {
                assert_eq!((&self.tokens, finished), (&tokens, alone));
                match request.prompt_logprobs {
                    Some(_) => assert_eq!(self.returned, returned),
                    None => assert_eq!(self.returned, []),
                }
            }
        }
        if request.prompt_logprobs.is_some() {
            assert_eq!(self.first_start, 0, "the cache was read");
        }
    }
}

/// A request for `max_tokens` tokens of the base model.
pub(crate) fn request(id: u64, prompt: &[u32], max_tokens: usize) -> SequenceRequest {
    SequenceRequest {
        id: SequenceId(id),
        prompt: prompt.to_vec(),
        adapter: None,
        cache_salt: None,
        params: Arc::new(SamplingParams::default()),
        max_tokens,
        siblings: 1,
        stop_token_ids: Arc::new([]),
        prompt_logprobs: None,
    }
}

/// The adapter called `name` here.
pub(crate) fn adapter(name: u8) -> AdapterId {
    AdapterId([name; 32])
}

/// The parts of a batch that the checks need after it was committed.
fn copy_rows(batch: &Batch) -> Vec<BatchRow> {
    batch
        .rows
        .iter()
        .map(|row| BatchRow {
            tokens: row.tokens.clone(),
            block_table: row.block_table.clone(),
            sample: row
                .sample
                .as_ref()
                .map(|sample| farthing_scheduler::SampleRow {
                    params: Arc::clone(&sample.params),
                    history: sample.history.clone(),
                    ..*sample
                }),
            ..*row
        })
        .collect()
}
