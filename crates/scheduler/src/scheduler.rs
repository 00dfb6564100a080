//! The queues: who runs, who waits, and what each computes in the next step.

use std::collections::{BTreeSet, HashSet, VecDeque};

use crate::block_manager::{BlockManager, OutOfBlocks};
use crate::fair_share::FairShare;
use crate::sequence::{RowState, Sequence};
use crate::{
    AdapterId, AdmissionError, Batch, BatchRow, ConfigError, FinishReason, SampledToken,
    SequenceId, SequenceOutput, SequenceRequest,
};

/// The limits of a step and of the cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SchedulerConfig {
    /// Tokens of a cache block.
    pub block_size: usize,
    /// Blocks of the cache.
    pub num_blocks: usize,
    /// Sequences that run at once, at most.
    pub max_num_seqs: usize,
    /// Tokens that a step computes, at most.
    pub max_num_batched_tokens: usize,
    /// Tokens of a sequence, prompt and output together, at most.
    pub max_model_len: usize,
    /// Distinct adapters that run at once, at most; sequences of the base model come on top.
    pub max_adapters: usize,
}

/// Owns every sequence from its admission to its end.
///
/// Running sequences are served first, in the order in which they started, then waiting ones: of
/// all adapters and the base model the one that had fewest tokens is next, and of its sequences
/// the first to arrive. Each takes as much of the step's token budget as it can use.
/// A sequence starts when all the blocks for its present length are there. When a running
/// sequence cannot grow, the newest one goes back to wait: the oldest always gets on, and so, one
/// after the other, does everyone.
///
/// A waiting sequence whose adapter finds no room lets others pass. Those of the base model do
/// not prolong its wait, but those with an adapter keep their adapter's place taken, so it lets
/// only `max_num_seqs` of them pass.
#[derive(Debug)]
pub struct Scheduler {
    config: SchedulerConfig,
    blocks: BlockManager,
    /// In the order of their start. They hold blocks; `waiting` ones hold none.
    running: Vec<Sequence>,
    /// In the order of their arrival, preempted ones before them.
    waiting: VecDeque<Sequence>,
    shares: FairShare,
    prefix_queries: u64,
    prefix_hits: u64,
    preemptions: u64,
}

/// Gauges of this moment and counters since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SchedulerStats {
    /// Sequences with a place in the batch.
    pub running: usize,
    /// Sequences waiting for one.
    pub waiting: usize,
    /// Of them those whose adapter finds no room.
    pub deferred: usize,
    /// Blocks of the cache.
    pub total_blocks: usize,
    /// Blocks that no sequence holds (cached prefixes included: they can be taken back).
    pub free_blocks: usize,
    /// Prompt tokens looked up in the prefix cache, once a sequence.
    pub prefix_queries: u64,
    /// Prompt tokens found there.
    pub prefix_hits: u64,
    /// Sequences sent back to wait for want of blocks.
    pub preemptions: u64,
}

impl Scheduler {
    /// An idle scheduler with an empty cache.
    ///
    /// # Errors
    /// When a limit other than `max_adapters` is 0, or block ids would not fit 32 bits.
    pub fn new(config: SchedulerConfig) -> Result<Self, ConfigError> {
        Ok(Self {
            blocks: BlockManager::new(config.check()?, config.block_size),
            config,
            running: Vec::new(),
            waiting: VecDeque::new(),
            shares: FairShare::default(),
            prefix_queries: 0,
            prefix_hits: 0,
            preemptions: 0,
        })
    }

    /// Takes a sequence over, to wait for its turn.
    ///
    /// # Errors
    /// When it could never run to its end, even alone.
    pub fn add(&mut self, request: SequenceRequest) -> Result<(), AdmissionError> {
        self.config.admit(&request)?;
        if self.sequences().any(|sequence| sequence.id() == request.id) {
            return Err(AdmissionError::DuplicateId(request.id));
        }
        let kind = request.adapter;
        let is_first = self.waiting.iter().all(|other| other.adapter() != kind);
        self.shares.join(kind, is_first);
        self.waiting.push_back(Sequence::new(request));
        Ok(())
    }

    /// Ends a sequence because nobody wants it any more; false if it is not here or ends already.
    /// While its row is in a batch in flight its blocks stay taken, and the batch's `commit` or
    /// `fail` reports [`FinishReason::Abort`]; otherwise it is gone at once and nothing more is
    /// heard of it.
    pub fn abort(&mut self, id: SequenceId) -> bool {
        if let Some(index) = self.waiting.iter().position(|sequence| sequence.id() == id) {
            if let Some(sequence) = self.waiting.remove(index) {
                self.shares.leave(sequence.adapter());
            }
            return true;
        }
        let Some(index) = self.running.iter().position(|sequence| sequence.id() == id) else {
            return false;
        };
        match self.running[index].row_state() {
            RowState::Idle => self.end(index),
            RowState::InFlight => self.running[index].set_row_state(RowState::Aborted),
            RowState::Aborted => return false,
        }
        true
    }

    /// Plans the next step. `None` when there is nothing to do, or while the last batch is still
    /// in row_state: it has to come back by [`commit`](Self::commit) or [`fail`](Self::fail) first.
    pub fn schedule(&mut self) -> Option<Batch> {
        if self
            .running
            .iter()
            .any(|sequence| sequence.row_state() != RowState::Idle)
        {
            return None;
        }
        let mut step = Step::new(&self.config);
        self.plan_running(&mut step);
        self.plan_waiting(&mut step);
        (!step.rows.is_empty()).then_some(Batch { rows: step.rows })
    }

    /// Takes in what a step brought, one `sampled` a row in the order of the rows, and tells what
    /// became of each row's sequence. A row without its result, or whose result has a token where
    /// none was to be sampled or the other way round, ends its sequence with
    /// [`FinishReason::Error`], and what it wrote is never shared.
    pub fn commit(&mut self, batch: Batch, sampled: Vec<SampledToken>) -> Vec<SequenceOutput> {
        let mut results = sampled.into_iter();
        batch
            .rows
            .iter()
            .filter_map(|row| self.commit_row(row, results.next()))
            .collect()
    }

    /// Takes in that a step failed: every sequence in it ends with [`FinishReason::Error`], or
    /// with `Abort` where that came first. The others go on.
    pub fn fail(&mut self, batch: Batch) -> Vec<SequenceOutput> {
        self.commit(batch, Vec::new())
    }

    /// Whether there is no sequence, running or waiting.
    pub fn is_idle(&self) -> bool {
        self.running.is_empty() && self.waiting.is_empty()
    }

    /// How things stand.
    pub fn stats(&self) -> SchedulerStats {
        SchedulerStats {
            running: self.running.len(),
            waiting: self.waiting.len(),
            deferred: self.deferred(),
            total_blocks: self.blocks.total(),
            free_blocks: self.blocks.free_blocks(),
            prefix_queries: self.prefix_queries,
            prefix_hits: self.prefix_hits,
            preemptions: self.preemptions,
        }
    }

    /// Counts anew, from the sequences' own tables, the blocks that are held: with
    /// [`SchedulerStats::free_blocks`] they make the total, always. For tests and soak runs.
    pub fn count_held_blocks(&self) -> usize {
        self.sequences()
            .flat_map(|sequence| sequence.block_table().blocks())
            .collect::<BTreeSet<_>>()
            .len()
    }

    /// Waiting sequences whose adapter has to wait for another to leave.
    fn deferred(&self) -> usize {
        let running = self.running_adapters();
        if running.len() < self.config.max_adapters {
            return 0;
        }
        let wanted = self.waiting.iter().filter_map(Sequence::adapter);
        wanted.filter(|adapter| !running.contains(adapter)).count()
    }

    fn running_adapters(&self) -> BTreeSet<AdapterId> {
        self.running.iter().filter_map(Sequence::adapter).collect()
    }

    /// Oldest first, so that whoever is preempted has not been planned yet.
    fn plan_running(&mut self, step: &mut Step) {
        let mut index = 0;
        while index < self.running.len() && step.budget > 0 {
            let sequence = &mut self.running[index];
            match self.blocks.allocate(sequence, sequence.remaining()) {
                Ok(()) => {
                    step.take(sequence, &mut self.shares);
                    index += 1;
                }
                Err(OutOfBlocks) => self.preempt_newest(),
            }
        }
    }

    fn preempt_newest(&mut self) {
        let Some(mut newest) = self.running.pop() else {
            return;
        };
        self.blocks.free(newest.preempt());
        self.waiting.push_front(newest);
        self.preemptions += 1;
    }

    fn plan_waiting(&mut self, step: &mut Step) {
        let mut adapters = self.running_adapters();
        let mut without_room = HashSet::new(); // kinds
        let mut adapters_may_pass = true;
        while step.budget > 0 && self.running.len() < self.config.max_num_seqs {
            let Some(index) = self.next_waiting(&without_room) else {
                break;
            };
            let next = &self.waiting[index];
            let has_room = match next.adapter() {
                Some(adapter) => {
                    adapters_may_pass
                        && (adapters.contains(&adapter)
                            || adapters.len() < self.config.max_adapters)
                }
                None => true,
            };
            if !has_room {
                adapters_may_pass &= next.skipped() < self.config.max_num_seqs;
                without_room.insert(next.adapter());
            } else if self.start_waiting(index) {
                let Some(started) = self.running.last_mut() else {
                    break;
                };
                step.take(started, &mut self.shares);
                if let Some(adapter) = started.adapter() {
                    adapters.insert(adapter);
                    self.count_skips(&without_room);
                }
            } else {
                // Whoever lacks only blocks is next: nobody takes the ones that come free. Those
                // just preempted stop here too, since somebody has taken a block of theirs.
                break;
            }
        }
    }

    /// The waiting sequence whose turn it is, but for those of some kinds.
    fn next_waiting(&self, without_room: &HashSet<Option<AdapterId>>) -> Option<usize> {
        let mut kinds = without_room.clone();
        let firsts = self.waiting.iter().enumerate();
        let firsts = firsts.filter(|(_, sequence)| kinds.insert(sequence.adapter()));
        let turn = |&(index, sequence): &(usize, &Sequence)| match sequence.preemptions() {
            0 => (1, self.shares.had(sequence.adapter()), index),
            _ => (0, 0, index),
        };
        firsts.min_by_key(turn).map(|(index, _)| index)
    }

    /// Notes that the first waiting sequence of each of some kinds was passed.
    fn count_skips(&mut self, kinds: &HashSet<Option<AdapterId>>) {
        let mut kinds = kinds.clone();
        let waiting = self.waiting.iter_mut();
        let passed = waiting.filter(|sequence| kinds.remove(&sequence.adapter()));
        passed.for_each(Sequence::count_skip);
    }

    /// Moves a waiting sequence to the end of the running ones, with blocks for all its tokens;
    /// `false` where these are missing.
    fn start_waiting(&mut self, index: usize) -> bool {
        let sequence = &mut self.waiting[index];
        if sequence.reads_cache() {
            self.blocks.share_prefix(sequence);
        }
        if self.blocks.allocate(sequence, sequence.remaining()) == Err(OutOfBlocks) {
            self.blocks.free(sequence.reset());
            return false;
        }
        let Some(sequence) = self.waiting.remove(index) else {
            return false;
        };
        if sequence.preemptions() == 0 && sequence.reads_cache() {
            self.prefix_queries += sequence.prompt_len() as u64;
            self.prefix_hits += sequence.num_computed() as u64;
        }
        self.running.push(sequence);
        true
    }

    fn commit_row(
        &mut self,
        row: &BatchRow,
        result: Option<SampledToken>,
    ) -> Option<SequenceOutput> {
        let index = self
            .running
            .iter()
            .position(|sequence| sequence.id() == row.sequence)?;
        let sequence = &mut self.running[index];
        let aborted = sequence.row_state() == RowState::Aborted;
        sequence.set_row_state(RowState::Idle);

        let result = result.filter(|it| it.token.is_some() == row.sample.is_some());
        let computed = result.is_some();
        if computed {
            sequence.advance(row.tokens.len());
            self.blocks.publish(sequence);
        }
        let (sampled, finished) = match result {
            _ if aborted => (SampledToken::default(), Some(FinishReason::Abort)),
            None => (SampledToken::default(), Some(FinishReason::Error)),
            Some(result) => sequence.accept(row.tokens.len(), result, self.config.max_model_len),
        };
        let output = SequenceOutput {
            sequence: row.sequence,
            sampled,
            finished,
            preemptions: sequence.preemptions(),
        };
        if finished.is_some() {
            self.end(index);
        }
        Some(output)
    }

    fn end(&mut self, index: usize) {
        let mut sequence = self.running.remove(index);
        self.shares.leave(sequence.adapter());
        self.blocks.free(sequence.reset());
    }

    fn sequences(&self) -> impl Iterator<Item = &Sequence> {
        self.running.iter().chain(&self.waiting)
    }
}

/// A step as it is being planned.
struct Step {
    block_size: usize,
    /// Tokens that may still be computed in it.
    budget: usize,
    rows: Vec<BatchRow>,
}

impl Step {
    fn new(config: &SchedulerConfig) -> Self {
        Self {
            block_size: config.block_size,
            budget: config.max_num_batched_tokens,
            rows: Vec::new(),
        }
    }

    /// The one rule: as many tokens as the sequence lacks and the budget allows.
    fn take(&mut self, sequence: &mut Sequence, shares: &mut FairShare) {
        let n = sequence.remaining().min(self.budget);
        self.budget -= n;
        shares.charge(sequence.adapter(), n);
        self.rows.push(sequence.plan_row(n, self.block_size));
    }
}

impl SchedulerConfig {
    /// The number of blocks, once every limit makes sense.
    fn check(&self) -> Result<u32, ConfigError> {
        let limits = [
            ("block_size", self.block_size),
            ("num_blocks", self.num_blocks),
            ("max_num_seqs", self.max_num_seqs),
            ("max_num_batched_tokens", self.max_num_batched_tokens),
            ("max_model_len", self.max_model_len),
        ];
        if let Some((field, _)) = limits.into_iter().find(|&(_, limit)| limit == 0) {
            return Err(ConfigError::Zero { field });
        }
        u32::try_from(self.num_blocks).map_err(|_| ConfigError::TooManyBlocks {
            num_blocks: self.num_blocks,
        })
    }

    /// Whether a sequence fits when it is alone.
    fn admit(&self, request: &SequenceRequest) -> Result<(), AdmissionError> {
        let prompt_tokens = request.prompt.len();
        if prompt_tokens == 0 {
            return Err(AdmissionError::EmptyPrompt);
        }
        if prompt_tokens + 1 > self.max_model_len {
            return Err(AdmissionError::PromptTooLong {
                prompt_tokens,
                max_model_len: self.max_model_len,
            });
        }
        // The last token that is generated is never computed.
        let longest = prompt_tokens
            .saturating_add(request.max_tokens)
            .min(self.max_model_len);
        let needed = (longest - 1).max(prompt_tokens).div_ceil(self.block_size);
        if needed > self.num_blocks {
            return Err(AdmissionError::TooManyBlocks {
                prompt_tokens,
                max_tokens: request.max_tokens,
                needed,
                block_size: self.block_size,
                num_blocks: self.num_blocks,
            });
        }
        if request.adapter.is_some() && self.max_adapters == 0 {
            return Err(AdmissionError::NoAdapters);
        }
        Ok(())
    }
}
