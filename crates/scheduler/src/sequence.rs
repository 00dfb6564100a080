//! A sequence: its token ids, how many of them are computed, and its blocks.

use std::sync::Arc;

use crate::block_table::BlockTable;
use crate::{AdapterId, BatchRow, CacheSalt, SampleRow, SampledToken, SamplingParams, SequenceId};

/// Why a sequence ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FinishReason {
    /// It sampled a stop token.
    Stop,
    /// It reached `max_tokens` or the end of the context.
    Length,
    /// The caller left, or a stop string was found.
    Abort,
    /// The step failed.
    Error,
}

/// A request for a sequence.
#[derive(Clone, Debug)]
pub struct SequenceRequest {
    /// A unique id, chosen by the caller.
    pub id: SequenceId,
    /// Token ids; never empty.
    pub prompt: Vec<u32>,
    /// The adapter; `None` for the base model.
    pub adapter: Option<AdapterId>,
    /// Cached prefixes are shared only with sequences of the same salt. `None` is shared by all
    /// that have none.
    pub cache_salt: Option<CacheSalt>,
    /// Sampling parameters.
    pub params: Arc<SamplingParams>,
    /// Maximum number of generated tokens; 0 only computes the prompt (for `echo` with `logprobs`).
    pub max_tokens: usize,
    /// Number of sequences of the caller's request, this one included: short requests come before
    /// long ones, but not because they are cut into many sequences.
    pub siblings: usize,
    /// The sequence ends after any of these tokens, which count as generated. Empty with
    /// `ignore_eos`.
    pub stop_token_ids: Arc<[u32]>,
    /// Return log-probabilities of the prompt's tokens, with this many alternatives each. Such a
    /// sequence does not read the prefix cache, because cached tokens have no logits.
    pub prompt_logprobs: Option<usize>,
}

/// The state of a sequence.
#[derive(Debug)]
pub(crate) struct Sequence {
    id: SequenceId,
    /// Prompt tokens, then generated ones.
    tokens: Vec<u32>,
    prompt_len: usize,
    num_computed: usize,
    block_table: BlockTable,
    adapter: Option<AdapterId>,
    cache_salt: Option<CacheSalt>,
    params: Arc<SamplingParams>,
    max_tokens: usize,
    siblings: usize,
    stop_token_ids: Arc<[u32]>,
    prompt_logprobs: Option<usize>,
    /// How many log-probabilities of prompt tokens were returned. The first token never has one.
    returned_logprobs: usize,
    row_state: RowState,
    preemptions: usize,
    skipped: usize,
}

/// Whether a row of the sequence is in flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RowState {
    /// No row is in flight.
    Idle,
    /// A row is being computed.
    InFlight,
    /// A row is being computed, and the sequence ends when it comes back.
    Aborted,
}

impl Sequence {
    /// A sequence with nothing computed and no blocks.
    pub(crate) fn new(request: SequenceRequest) -> Self {
        Self {
            id: request.id,
            prompt_len: request.prompt.len(),
            tokens: request.prompt,
            num_computed: 0,
            block_table: BlockTable::default(),
            adapter: request.adapter,
            cache_salt: request.cache_salt,
            params: request.params,
            max_tokens: request.max_tokens,
            siblings: request.siblings,
            stop_token_ids: request.stop_token_ids,
            prompt_logprobs: request.prompt_logprobs,
            returned_logprobs: 0,
            row_state: RowState::Idle,
            preemptions: 0,
            skipped: 0,
        }
    }

    pub(crate) fn id(&self) -> SequenceId {
        self.id
    }

    pub(crate) fn tokens(&self) -> &[u32] {
        &self.tokens
    }

    pub(crate) fn prompt_len(&self) -> usize {
        self.prompt_len
    }

    /// Maximum number of tokens, prompt and answer, of the whole request. Its sequences are counted as
    /// if they were alike.
    pub(crate) fn request_tokens(&self) -> usize {
        let own = self.prompt_len.saturating_add(self.max_tokens);
        own.saturating_mul(self.siblings)
    }

    pub(crate) fn adapter(&self) -> Option<AdapterId> {
        self.adapter
    }

    pub(crate) fn cache_salt(&self) -> Option<CacheSalt> {
        self.cache_salt
    }

    pub(crate) fn num_computed(&self) -> usize {
        self.num_computed
    }

    /// Tokens still to compute. At least one until the sequence ends.
    pub(crate) fn remaining(&self) -> usize {
        self.tokens.len() - self.num_computed
    }

    pub(crate) fn block_table(&self) -> &BlockTable {
        &self.block_table
    }

    pub(crate) fn block_table_mut(&mut self) -> &mut BlockTable {
        &mut self.block_table
    }

    pub(crate) fn row_state(&self) -> RowState {
        self.row_state
    }

    pub(crate) fn set_row_state(&mut self, row_state: RowState) {
        self.row_state = row_state;
    }

    /// Whether the prefix cache may be used. It may not if every prompt token needs a
    /// log-probability.
    pub(crate) fn reads_cache(&self) -> bool {
        self.prompt_logprobs.is_none()
    }

    pub(crate) fn preemptions(&self) -> usize {
        self.preemptions
    }

    /// How many sequences with adapters started while this one was first in line and had no slot for
    /// its own adapter.
    pub(crate) fn skipped(&self) -> usize {
        self.skipped
    }

    pub(crate) fn count_skip(&mut self) {
        self.skipped += 1;
    }

    /// Starts with `tokens` computed tokens, which are in the blocks of `table`.
    pub(crate) fn start_from(&mut self, table: BlockTable, tokens: usize) {
        self.block_table = table;
        self.num_computed = tokens;
    }

    /// Forgets the computed state, but not the generated tokens, and returns the blocks.
    pub(crate) fn reset(&mut self) -> BlockTable {
        self.num_computed = 0;
        std::mem::take(&mut self.block_table)
    }

    /// Like [`Self::reset`], and counts a preemption.
    pub(crate) fn preempt(&mut self) -> BlockTable {
        self.preemptions += 1;
        self.reset()
    }

    /// Plans the next `n` tokens. Their blocks are already allocated.
    pub(crate) fn plan_row(&mut self, n: usize, block_size: usize) -> BatchRow {
        let start = self.num_computed;
        let end = start + n;
        self.row_state = RowState::InFlight;
        BatchRow {
            sequence: self.id,
            tokens: self.tokens[start..end].to_vec(),
            start,
            prompt_tokens: end.min(self.prompt_len).saturating_sub(start),
            block_table: self.block_table.blocks()[..end.div_ceil(block_size)].to_vec(),
            adapter: self.adapter,
            sample: (end == self.tokens.len() && self.max_tokens > 0).then(|| self.sample_row()),
            prompt_logprobs: self
                .prompt_logprobs
                .filter(|_| self.logprobs_known_at(end) > self.returned_logprobs),
            next_prompt_token: self.tokens[..self.prompt_len].get(end).copied(),
        }
    }

    /// Records that `n` more tokens are in the cache.
    pub(crate) fn advance(&mut self, n: usize) {
        self.num_computed += n;
    }

    /// Stores the result of a row after [`advance`](Self::advance) by `n` tokens. Returns what was
    /// not returned before, and the reason if the sequence ends.
    pub(crate) fn accept(
        &mut self,
        n: usize,
        mut sampled: SampledToken,
        max_model_len: usize,
    ) -> (SampledToken, Option<FinishReason>) {
        let returned_before = self.returned_logprobs.saturating_sub(self.num_computed - n);
        sampled
            .prompt_logprobs
            .drain(..returned_before.min(sampled.prompt_logprobs.len()));
        self.returned_logprobs = self
            .returned_logprobs
            .max(self.logprobs_known_at(self.num_computed));

        self.tokens.extend(sampled.token);
        let generated = self.tokens.len() - self.prompt_len;
        let finished = if sampled
            .token
            .is_some_and(|token| self.stop_token_ids.contains(&token))
        {
            Some(FinishReason::Stop)
        } else if self.num_computed >= self.prompt_len
            && (generated >= self.max_tokens || self.tokens.len() >= max_model_len)
        {
            Some(FinishReason::Length)
        } else {
            None
        };
        (sampled, finished)
    }

    fn sample_row(&self) -> SampleRow {
        let history = if self.params.has_penalties() {
            self.tokens.clone()
        } else {
            Vec::new()
        };
        SampleRow {
            params: Arc::clone(&self.params),
            history_prompt_tokens: self.prompt_len.min(history.len()),
            history,
            position: (self.tokens.len() - self.prompt_len) as u64,
        }
    }

    /// How many prompt tokens have a log-probability once `computed` tokens are computed. Each
    /// token gives the one of its successor.
    fn logprobs_known_at(&self, computed: usize) -> usize {
        computed.min(self.prompt_len - 1)
    }
}
