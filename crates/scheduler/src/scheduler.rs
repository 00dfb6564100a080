//! The waiting and running queues, and the plan of each step.

use std::collections::{BTreeSet, HashSet, VecDeque};

use crate::block_manager::{BlockManager, OutOfBlocks};
use crate::fair_share::FairShare;
use crate::length::Length;
use crate::sequence::{RowState, Sequence};
use crate::{
    AdapterId, AdmissionError, Batch, BatchRow, ConfigError, FinishReason, SampledToken,
    SequenceId, SequenceOutput, SequenceRequest,
};

/// Limits of a step and of the cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SchedulerConfig {
    /// Tokens per cache block.
    pub block_size: usize,
    /// Blocks of the cache.
    pub num_blocks: usize,
    /// Maximum number of sequences in a step.
    pub max_num_seqs: usize,
    /// Maximum number of tokens per step.
    pub max_num_batched_tokens: usize,
    /// Maximum number of tokens per sequence, prompt and output together.
    pub max_model_len: usize,
    /// Maximum number of different adapters among the running sequences, not counting the base
    /// model.
    pub max_adapters: usize,
}

/// Owns every sequence from admission to its end.
///
/// Running sequences are planned first, in the order in which they started. Then come the waiting
/// ones: of all adapters and the base model, the one with the fewest computed tokens is next
/// ([`FairShare`]), and of its sequences the oldest. Each takes as much of the step's token budget
/// as it can use.
///
/// A sequence starts when there are blocks for all of its present tokens. When a running sequence
/// cannot grow, the newest running one is preempted and waits again. So the oldest sequence always
/// makes progress, and in turn every sequence does.
///
/// A waiting sequence whose adapter has no slot is skipped. Sequences of the base model may start
/// before it without limit, since they take no adapter slot. Sequences with adapters prolong its
/// wait, so only `max_num_seqs` of them may.
///
/// While there are short requests and longer ones, a step serves the shortest first, with up to half of
/// its places and tokens, and of the others as many tokens as take half of that time. So the shortest take
/// about half longer than alone, and the others keep a third of the time, however many requests of either
/// kind there are. Where memory bounds a step, as on a GPU, hardly any of the
/// others are left out. So that the shortest need not wait for a place, some more of them may run than
/// fit a step.
#[derive(Debug)]
pub struct Scheduler {
    config: SchedulerConfig,
    blocks: BlockManager,
    /// In the order of their start. Running sequences hold blocks; waiting ones hold none.
    running: Vec<Sequence>,
    /// In the order of arrival, preempted sequences first.
    waiting: VecDeque<Sequence>,
    shares: FairShare,
    /// Tokens that take as long as what every step takes; `None` if that is not known.
    fixed_tokens: Option<usize>,
    prefix_queries: u64,
    prefix_hits: u64,
    preemptions: u64,
}

/// Current values, and counters since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SchedulerStats {
    /// Running sequences.
    pub running: usize,
    /// Waiting sequences.
    pub waiting: usize,
    /// Waiting sequences whose adapter has no slot.
    pub deferred: usize,
    /// Blocks of the cache.
    pub total_blocks: usize,
    /// Blocks that no sequence holds, those with cached prefixes included.
    pub free_blocks: usize,
    /// Prompt tokens looked up in the prefix cache, once per sequence.
    pub prefix_queries: u64,
    /// Prompt tokens found in the prefix cache.
    pub prefix_hits: u64,
    /// How often a sequence was preempted because there were no free blocks.
    pub preemptions: u64,
}

/// One more short sequence may run for this many places of a step.
const PLACES_PER_EXTRA: usize = 8;

impl Scheduler {
    /// A scheduler without sequences and with an empty cache.
    ///
    /// # Errors
    /// A limit other than `max_adapters` is 0, or there are more blocks than 32-bit ids.
    pub fn new(config: SchedulerConfig) -> Result<Self, ConfigError> {
        Ok(Self {
            blocks: BlockManager::new(config.check()?, config.block_size),
            config,
            running: Vec::new(),
            waiting: VecDeque::new(),
            shares: FairShare::default(),
            fixed_tokens: None,
            prefix_queries: 0,
            prefix_hits: 0,
            preemptions: 0,
        })
    }

    /// Sets how many tokens take as long as what every step takes, such as reading the weights. As long
    /// as this is not known, short requests do not come before long ones.
    pub fn set_fixed_tokens(&mut self, fixed_tokens: Option<usize>) {
        self.fixed_tokens = fixed_tokens;
    }

    /// Adds a sequence to the waiting queue.
    ///
    /// # Errors
    /// The sequence could never run to its end, even alone.
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

    /// Ends a sequence whose caller no longer wants it. Returns false if the sequence is unknown or
    /// already aborted.
    ///
    /// While a row of it is in flight, its blocks stay allocated, and the batch's `commit` or
    /// `fail` reports [`FinishReason::Abort`]. Otherwise it ends at once without a report.
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

    /// Plans the next step. Returns `None` if there is nothing to do, or while the last batch is
    /// still in flight: it has to be passed to [`commit`](Self::commit) or [`fail`](Self::fail)
    /// first.
    pub fn schedule(&mut self) -> Option<Batch> {
        if self
            .running
            .iter()
            .any(|sequence| sequence.row_state() != RowState::Idle)
        {
            return None;
        }
        let mut step = Step::new(&self.config);
        self.plan_shortest(&mut step);
        if step.rows.is_empty() {
            self.plan_running(&mut step);
            self.plan_waiting(&mut step, None);
        }
        (!step.rows.is_empty()).then_some(Batch { rows: step.rows })
    }

    /// Stores the results of a step, one `sampled` per row in the order of the rows, and returns
    /// what happened to each sequence. A sequence ends with [`FinishReason::Error`] if its result
    /// is missing, has a token although none was to be sampled, or lacks one; its blocks are then
    /// never shared.
    pub fn commit(&mut self, batch: Batch, sampled: Vec<SampledToken>) -> Vec<SequenceOutput> {
        let mut results = sampled.into_iter();
        batch
            .rows
            .iter()
            .filter_map(|row| self.commit_row(row, results.next()))
            .collect()
    }

    /// Handles a step that failed. Every sequence in it ends with [`FinishReason::Error`], or with
    /// `Abort` if it was aborted before. Other sequences continue.
    pub fn fail(&mut self, batch: Batch) -> Vec<SequenceOutput> {
        self.commit(batch, Vec::new())
    }

    /// Whether there are neither running nor waiting sequences.
    pub fn is_idle(&self) -> bool {
        self.running.is_empty() && self.waiting.is_empty()
    }

    /// Current gauges and counters.
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

    /// Counts the held blocks from the sequences' own tables. Together with
    /// [`SchedulerStats::free_blocks`] they always make the total. For tests and soak runs.
    pub fn count_held_blocks(&self) -> usize {
        self.sequences()
            .flat_map(|sequence| sequence.block_table().blocks())
            .collect::<BTreeSet<_>>()
            .len()
    }

    /// Waiting sequences whose adapter has to wait for a slot.
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

    /// Plans the shortest requests if there are longer ones, and their company. Sequences that were
    /// preempted come even before them, and nobody is preempted for them.
    fn plan_shortest(&mut self, step: &mut Step) {
        let Some(fixed_tokens) = self.fixed_tokens else {
            return;
        };
        let Some(length) = Length::shortest(self.sequences()) else {
            return;
        };
        let whole = step.room;
        step.room = Room {
            rows: whole.rows / 2,
            tokens: whole.tokens / 2,
        };
        for sequence in &mut self.running {
            if step.has_room()
                && Length::of(sequence) == length
                && self.blocks.allocate(sequence, sequence.remaining()).is_ok()
            {
                step.take(sequence, &mut self.shares);
            }
        }
        self.plan_waiting(step, Some(length));
        let tokens = step.tokens();
        if tokens == 0 {
            step.room = whole;
            return;
        }
        // The company mostly decodes, and a token of a prompt takes less time than a decoded one.
        let decoded_tokens = usize::midpoint(tokens, step.rows.len());
        let company = fixed_tokens.saturating_add(decoded_tokens) / 2 + 1;
        step.room = Room {
            rows: whole.rows - step.rows.len(),
            tokens: (whole.tokens - tokens).min(company),
        };
        self.plan_running(step);
        self.plan_waiting(step, None);
    }

    /// Plans the running sequences that have no row yet, oldest first, so that a preempted sequence has
    /// not been planned yet.
    fn plan_running(&mut self, step: &mut Step) {
        let mut index = 0;
        while index < self.running.len() && step.has_room() {
            let sequence = &mut self.running[index];
            if sequence.row_state() != RowState::Idle {
                index += 1;
                continue;
            }
            match self.blocks.allocate(sequence, sequence.remaining()) {
                Ok(()) => {
                    step.take(sequence, &mut self.shares);
                    index += 1;
                }
                Err(OutOfBlocks) => self.preempt_newest(),
            }
        }
    }

    /// Preempts the newest sequence that has no row yet.
    fn preempt_newest(&mut self) {
        let is_idle = |sequence: &Sequence| sequence.row_state() == RowState::Idle;
        let Some(newest) = self.running.iter().rposition(is_idle) else {
            return;
        };
        let mut newest = self.running.remove(newest);
        self.blocks.free(newest.preempt());
        self.waiting.push_front(newest);
        self.preemptions += 1;
    }

    /// Starts waiting sequences, or only those of a length.
    fn plan_waiting(&mut self, step: &mut Step, length: Option<Length>) {
        let places = match length {
            None => self.config.max_num_seqs,
            Some(_) => {
                self.config.max_num_seqs + self.config.max_num_seqs.div_ceil(PLACES_PER_EXTRA)
            }
        };
        let mut adapters = self.running_adapters();
        let mut without_room = HashSet::new(); // kinds
        let mut adapters_may_pass = true;
        while step.has_room() && self.running.len() < places {
            let Some(index) = self.next_waiting(&without_room, length) else {
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
                // It lacks only blocks, so it is next as soon as enough are free. No other sequence
                // may take them before it. A sequence that has just been preempted stops here too.
                break;
            }
        }
    }

    /// Index of the next waiting sequence, ignoring the kinds in `without_room` and, if a length is
    /// given, sequences of other lengths that have not been preempted.
    fn next_waiting(
        &self,
        without_room: &HashSet<Option<AdapterId>>,
        length: Option<Length>,
    ) -> Option<usize> {
        let mut kinds = without_room.clone();
        let firsts = self.waiting.iter().enumerate();
        let firsts = firsts
            .filter(|(_, sequence)| length.is_none_or(|length| Length::of(sequence) == length));
        let firsts = firsts.filter(|(_, sequence)| kinds.insert(sequence.adapter()));
        let turn = |&(index, sequence): &(usize, &Sequence)| match sequence.preemptions() {
            0 => (1, self.shares.had(sequence.adapter()), index),
            _ => (0, 0, index),
        };
        firsts.min_by_key(turn).map(|(index, _)| index)
    }

    /// Counts a skip for the first waiting sequence of each of these kinds.
    fn count_skips(&mut self, kinds: &HashSet<Option<AdapterId>>) {
        let mut kinds = kinds.clone();
        let waiting = self.waiting.iter_mut();
        let passed = waiting.filter(|sequence| kinds.remove(&sequence.adapter()));
        passed.for_each(Sequence::count_skip);
    }

    /// Moves a waiting sequence to the end of the running ones and allocates blocks for all its
    /// tokens. Returns `false` if there are too few blocks.
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

        let was_executed = result.is_some();
        let mut result = result.unwrap_or_default();
        let is_complete = result.token.is_some() == row.sample.is_some();
        let computed = was_executed && is_complete && result.error.is_none();
        if computed {
            sequence.advance(row.tokens.len());
            self.blocks.publish(sequence);
        }
        let (sampled, finished) = if aborted {
            (SampledToken::default(), Some(FinishReason::Abort))
        } else if computed {
            sequence.accept(row.tokens.len(), result, self.config.max_model_len)
        } else {
            let error = result.error.take();
            let failed = SampledToken {
                error,
                ..SampledToken::default()
            };
            (failed, Some(FinishReason::Error))
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

/// A step that is being planned.
struct Step {
    block_size: usize,
    room: Room,
    rows: Vec<BatchRow>,
}

/// What may still be added to a step.
#[derive(Clone, Copy)]
struct Room {
    rows: usize,
    tokens: usize,
}

impl Step {
    fn new(config: &SchedulerConfig) -> Self {
        Self {
            block_size: config.block_size,
            room: Room {
                rows: config.max_num_seqs,
                tokens: config.max_num_batched_tokens,
            },
            rows: Vec::new(),
        }
    }

    fn has_room(&self) -> bool {
        self.room.rows > 0 && self.room.tokens > 0
    }

    fn tokens(&self) -> usize {
        self.rows.iter().map(|row| row.tokens.len()).sum()
    }

    /// Plans as many tokens as the sequence lacks and the room allows.
    fn take(&mut self, sequence: &mut Sequence, shares: &mut FairShare) {
        let n = sequence.remaining().min(self.room.tokens);
        self.room.tokens -= n;
        self.room.rows -= 1;
        shares.charge(sequence.adapter(), n);
        self.rows.push(sequence.plan_row(n, self.block_size));
    }
}

impl SchedulerConfig {
    /// Validates the limits and returns the number of blocks.
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

    /// Checks that a sequence fits the limits when it runs alone.
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
        // The last generated token is never computed.
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
