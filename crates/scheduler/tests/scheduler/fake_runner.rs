//! Computes batches without a model. A slot of its cache stores everything that it depends on.

use std::collections::{BTreeMap, BTreeSet};

use farthing_scheduler::{
    AdapterId, Batch, BatchRow, BlockId, SampledToken, TokenLogprob, TokenLogprobs,
};

/// Tokens of the vocabulary. They are few, so that prefixes coincide by chance.
pub(crate) const VOCABULARY: u32 = 3;

/// The key and value of a token depend on its adapter and on all tokens up to it; here they are
/// exactly these.
type Slot = (Option<AdapterId>, Vec<u32>);

/// The device's memory, by block and offset.
pub(crate) struct FakeRunner {
    block_size: usize,
    cache: BTreeMap<(BlockId, usize), Slot>,
}

impl FakeRunner {
    pub(crate) fn new(block_size: usize) -> Self {
        Self {
            block_size,
            cache: BTreeMap::new(),
        }
    }

    /// Computes every row. Each row reads its whole history from the cache and samples from that.
    /// `truth` is only used for comparison.
    pub(crate) fn execute<'a>(
        &mut self,
        batch: &Batch,
        truth: impl Fn(&BatchRow) -> &'a [u32],
    ) -> Vec<SampledToken> {
        self.check_hazards(batch);
        batch
            .rows
            .iter()
            .map(|row| {
                let history = self.compute(row);
                let end = row.start + row.tokens.len();
                assert_eq!(history, truth(row)[..end], "sequence {:?}", row.sequence);
                SampledToken {
                    token: row
                        .sample
                        .as_ref()
                        .map(|_| next_token(row.adapter, &history)),
                    logprobs: None,
                    prompt_logprobs: prompt_logprobs_of(row),
                    error: None,
                }
            })
            .collect()
    }

    /// Overwrites what the rows have written, as a failed step may.
    pub(crate) fn spoil(&mut self, rows: &[BatchRow]) {
        for row in rows {
            for position in row.start..row.start + row.tokens.len() {
                let at = self.slot(row, position);
                self.cache.insert(at, (row.adapter, vec![u32::MAX]));
            }
        }
    }

    /// Rows run concurrently: none may write where another reads or writes.
    fn check_hazards(&self, batch: &Batch) {
        let mut written = BTreeSet::new();
        for row in &batch.rows {
            let end = row.start + row.tokens.len();
            assert_eq!(
                row.block_table.len(),
                end.div_ceil(self.block_size),
                "table too long"
            );
            for position in row.start..end {
                assert!(
                    written.insert(self.slot(row, position)),
                    "two rows write one slot"
                );
            }
        }
        for row in &batch.rows {
            for position in 0..row.start {
                assert!(
                    !written.contains(&self.slot(row, position)),
                    "a row's past is written"
                );
            }
        }
    }

    /// Reads the history, writes the new tokens, and returns all tokens as the cache has them.
    fn compute(&mut self, row: &BatchRow) -> Vec<u32> {
        let mut history = Vec::new();
        for position in 0..row.start {
            let (adapter, tokens) = &self.cache[&self.slot(row, position)];
            assert_eq!(*adapter, row.adapter, "another adapter's slot");
            assert_eq!(tokens.len(), position + 1, "another position's slot");
            assert_eq!(tokens[..position], history, "another history's slot");
            history.push(tokens[position]);
        }
        for &token in &row.tokens {
            history.push(token);
            let at = self.slot(row, history.len() - 1);
            self.cache.insert(at, (row.adapter, history.clone()));
        }
        history
    }

    fn slot(&self, row: &BatchRow, position: usize) -> (BlockId, usize) {
        (
            row.block_table[position / self.block_size],
            position % self.block_size,
        )
    }
}

/// The next token: a pseudorandom function of the adapter and all tokens.
pub(crate) fn next_token(adapter: Option<AdapterId>, history: &[u32]) -> u32 {
    let seed = adapter.map_or(0, |id| u64::from(id.0[0]) + 1);
    let mixed = history.iter().fold(seed, |state, &token| {
        (state ^ u64::from(token))
            .wrapping_mul(0x9E37_79B9_7F4A_7C15)
            .rotate_left(23)
    });
    (mixed >> 33) as u32 % VOCABULARY
}

/// The log-probabilities that a row has to return, as documented in `BatchRow`. The value is minus
/// the position of the token.
fn prompt_logprobs_of(row: &BatchRow) -> Vec<TokenLogprobs> {
    if row.prompt_logprobs.is_none() {
        return Vec::new();
    }
    let prompt = &row.tokens[..row.prompt_tokens];
    let followers = prompt.iter().skip(1).chain(&row.next_prompt_token);
    followers
        .enumerate()
        .map(|(index, &token)| TokenLogprobs {
            chosen: TokenLogprob {
                token,
                logprob: -((row.start + index + 1) as f32),
            },
            top: Vec::new(),
        })
        .collect()
}
