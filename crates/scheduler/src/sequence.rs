//! A sequence: token ids, how many of them are computed, and the blocks that hold them.

use std::fmt;
use std::sync::Arc;

use crate::block_table::BlockTable;
use crate::{BatchRow, SampleRow, SampledToken, SamplingParams};

/// Names a sequence for its whole life; never used twice by one process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SequenceId(pub u64);

/// SHA-256 of an adapter's config and weights: what it is, not what it is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AdapterId(pub [u8; 32]);

/// In hexadecimal, as many digits as a given precision says: `{:.16}` tells adapters apart.
impl fmt::Display for AdapterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits: String = self.0.iter().map(|byte| format!("{byte:02x}")).collect();
        f.pad(&digits)
    }
}

/// Why a sequence ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FinishReason {
    /// It sampled one of its stop tokens.
    Stop,
    /// It reached `max_tokens` or the context's end.
    Length,
    /// Its caller went away or found a stop string.
    Abort,
    /// Its step failed.
    Error,
}

/// A sequence as its caller asks for it.
#[derive(Clone, Debug)]
pub struct SequenceRequest {
    /// Chosen by the caller, unique.
    pub id: SequenceId,
    /// Token ids; never empty.
    pub prompt: Vec<u32>,
    /// The adapter, or none for the base model.
    pub adapter: Option<AdapterId>,
    /// How to sample.
    pub params: Arc<SamplingParams>,
    /// End after this many generated tokens; 0 only computes the prompt (`echo` with `logprobs`).
    pub max_tokens: usize,
    /// End after any of these (they count as generated); empty with `ignore_eos`.
    pub stop_token_ids: Arc<[u32]>,
    /// Log-probabilities of the prompt's own tokens: how many alternatives to tell of each. The
    /// prefix cache is not read for such a sequence, since cached tokens have no logits.
    pub prompt_logprobs: Option<usize>,
}

/// A sequence on its way: its tokens, how many of them are computed, and where those lie.
#[derive(Debug)]
pub(crate) struct Sequence {
    id: SequenceId,
    /// Prompt, then output.
    tokens: Vec<u32>,
    prompt_len: usize,
    num_computed: usize,
    block_table: BlockTable,
    adapter: Option<AdapterId>,
    params: Arc<SamplingParams>,
    max_tokens: usize,
    stop_token_ids: Arc<[u32]>,
    prompt_logprobs: Option<usize>,
    /// How many log-probabilities of prompt tokens were told; the first token never has one.
    told_logprobs: usize,
    row_state: RowState,
    preemptions: usize,
    skipped: usize,
}

/// Whether a row of the sequence is being computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RowState {
    /// No: its blocks are at rest.
    Idle,
    /// Yes.
    InFlight,
    /// Yes, but its caller has left: the sequence ends when the row comes back.
    Aborted,
}

impl Sequence {
    /// Nothing computed, no blocks held.
    pub(crate) fn new(request: SequenceRequest) -> Self {
        Self {
            id: request.id,
            prompt_len: request.prompt.len(),
            tokens: request.prompt,
            num_computed: 0,
            block_table: BlockTable::default(),
            adapter: request.adapter,
            params: request.params,
            max_tokens: request.max_tokens,
            stop_token_ids: request.stop_token_ids,
            prompt_logprobs: request.prompt_logprobs,
            told_logprobs: 0,
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

    pub(crate) fn adapter(&self) -> Option<AdapterId> {
        self.adapter
    }

    pub(crate) fn num_computed(&self) -> usize {
        self.num_computed
    }

    /// Tokens still to compute; at least one while the sequence lives.
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

    /// Whether the prefix cache may stand in for computing: not where every token of the prompt
    /// has to bring its log-probability.
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

    /// Starts with `tokens` computed, in the blocks of `table`.
    pub(crate) fn start_from(&mut self, table: BlockTable, tokens: usize) {
        self.block_table = table;
        self.num_computed = tokens;
    }

    /// Forgets what was computed, though not what was generated, and hands its blocks over.
    pub(crate) fn reset(&mut self) -> BlockTable {
        self.num_computed = 0;
        std::mem::take(&mut self.block_table)
    }

    /// As [`Self::reset`], for want of blocks.
    pub(crate) fn preempt(&mut self) -> BlockTable {
        self.preemptions += 1;
        self.reset()
    }

    /// Plans the next `n` tokens, in blocks that the sequence holds already.
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
                .filter(|_| self.logprobs_known_at(end) > self.told_logprobs),
            next_prompt_token: self.tokens[..self.prompt_len].get(end).copied(),
        }
    }

    /// Takes in that `n` more tokens are in the cache.
    pub(crate) fn advance(&mut self, n: usize) {
        self.num_computed += n;
    }

    /// Takes in what the row told that has just [advanced](Self::advance) by `n` tokens. Returns
    /// what of it is news, and why the sequence ends with it, if it does.
    pub(crate) fn accept(
        &mut self,
        n: usize,
        mut sampled: SampledToken,
        max_model_len: usize,
    ) -> (SampledToken, Option<FinishReason>) {
        let told_before = self.told_logprobs.saturating_sub(self.num_computed - n);
        sampled
            .prompt_logprobs
            .drain(..told_before.min(sampled.prompt_logprobs.len()));
        self.told_logprobs = self
            .told_logprobs
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

    /// How many tokens of the prompt have a log-probability once `computed` tokens are computed:
    /// each tells the next one's.
    fn logprobs_known_at(&self, computed: usize) -> usize {
        computed.min(self.prompt_len - 1)
    }
}
