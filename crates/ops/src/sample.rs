//! Samples the next token of each sequence.

mod cut;
mod draw;
mod fault;
#[cfg(feature = "cuda")]
mod on_device;
#[cfg(any(feature = "cuda", test))]
mod parameters;
mod row;

use std::sync::OnceLock;

use candle_core::{Context, Result, Storage, Tensor, bail};

pub use self::fault::{SampleFault, SampleResult};
#[cfg(feature = "cuda")]
pub use self::on_device::DeviceSampler;
use crate::operand::source;
use crate::pool;
use crate::simd::SimdLevel;

/// How to sample the next token of one row. The parameters are vLLM's.
#[derive(Clone, Debug)]
pub struct SampleSpec<'a> {
    /// Divides the logits; 0 means greedy sampling, with the lowest id on a tie.
    pub temperature: f32,
    /// Keep the smallest set of tokens whose probabilities sum to this; 1 keeps all.
    pub top_p: f32,
    /// Keep this many of the most likely tokens; 0 keeps all.
    pub top_k: usize,
    /// Keep tokens with at least this fraction of the highest probability; 0 keeps all.
    pub min_p: f32,
    /// Subtracted from the logit of every token that was generated before.
    pub presence_penalty: f32,
    /// Subtracted from the logit of a token once per earlier occurrence in the output.
    pub frequency_penalty: f32,
    /// Divides positive logits and multiplies negative ones, for tokens in `history`; 1 is off.
    pub repetition_penalty: f32,
    /// Token ids and what is added to their logits.
    pub logit_bias: &'a [(u32, f32)],
    /// Prompt and output so far. May be empty if no penalty needs it.
    pub history: &'a [u32],
    /// How many tokens of `history` belong to the prompt.
    pub history_prompt_tokens: usize,
    /// Key of the row's random numbers.
    pub seed: u64,
    /// Counter of the row's random numbers: tokens generated before this one.
    pub position: u64,
    /// Return the log-probability of the token and of this many of the most likely ones.
    pub logprobs: Option<usize>,
}

impl SampleSpec<'_> {
    /// All parameters off.
    pub const PLAIN: SampleSpec<'static> = SampleSpec {
        temperature: 1.0,
        top_p: 1.0,
        top_k: 0,
        min_p: 0.0,
        presence_penalty: 0.0,
        frequency_penalty: 0.0,
        repetition_penalty: 1.0,
        logit_bias: &[],
        history: &[],
        history_prompt_tokens: 0,
        seed: 0,
        position: 0,
        logprobs: None,
    };
}

/// Size of the buffers for the lists of all rows of a step, on a GPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListCapacity {
    /// Tokens of rows with penalties.
    pub history: usize,
    /// Entries of logit biases.
    pub bias: usize,
}

/// A token and, if requested, natural-log probabilities under the unmodified logits.
#[derive(Clone, Debug, PartialEq)]
pub struct Sampled {
    /// The token.
    pub token: u32,
    /// Its log-probability.
    pub logprob: Option<f32>,
    /// The most likely tokens, most likely first.
    pub top: Vec<(u32, f32)>,
}

/// Samples a token for each row of `logits` f32 `[r, vocab]`, on the CPU. [`DeviceSampler`] does it
/// on a GPU.
///
/// [`DeviceSampler`]: crate::DeviceSampler
///
/// The order is vLLM's: logit bias, penalties, temperature, min-p, top-k, top-p. From what remains,
/// a token is drawn by inverting the cumulative distribution at a random number that depends only
/// on the row's seed and position ([`crate::philox4x32`]).
///
/// # Errors
/// The number of specs is not the number of rows. A row that cannot be sampled has its own error.
pub fn sample(logits: &Tensor, specs: &[SampleSpec<'_>]) -> Result<Vec<SampleResult>> {
    let level = SimdLevel::current();
    each_row(logits, specs.len(), |i, logits| {
        row::sample(level, logits, &specs[i])
    })
}

/// The log-probabilities of given `tokens`, one for each row of `logits` f32 `[r, vocab]`, and of
/// the `top` most likely tokens of the row.
///
/// # Errors
/// The number of tokens is not the number of rows. A row without finite logits has its own error.
pub fn token_logprobs(logits: &Tensor, tokens: &[u32], top: usize) -> Result<Vec<SampleResult>> {
    #[cfg(feature = "cuda")]
    if logits.device().is_cuda() {
        return on_device::token_logprobs(logits, tokens, top);
    }
    let level = SimdLevel::current();
    each_row(logits, tokens.len(), |i, logits| {
        row::logprobs(level, logits, tokens[i], top)
    })
}

/// Calls `f` with every row in parallel.
fn each_row(
    logits: &Tensor,
    expected: usize,
    f: impl Fn(usize, &[f32]) -> SampleResult + Sync,
) -> Result<Vec<SampleResult>> {
    let (rows, vocab) = logits.dims2()?;
    if rows != expected || vocab == 0 {
        bail!(
            "sample: {expected} rows to sample of logits {:?}",
            logits.shape()
        );
    }
    let (storage, layout) = logits.storage_and_layout();
    let Storage::Cpu(storage) = &*storage else {
        bail!(
            "sample: no implementation for {:?}",
            logits.device().location()
        );
    };
    let logits = source::<f32>("sample: logits", storage, layout)?;
    let results: Vec<OnceLock<SampleResult>> = (0..rows).map(|_| OnceLock::new()).collect();
    pool::run(rows, |row| {
        results[row].get_or_init(|| f(row, &logits[row * vocab..][..vocab]));
    });
    let results = results.into_iter().map(OnceLock::into_inner);
    results
        .collect::<Option<_>>()
        .context("sample: a row was left out")
}
