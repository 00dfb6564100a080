//! Sampling on a GPU. The host sends parameters and receives a token and its log-probabilities per row.

use candle_core::{DType, Device, Result, Tensor, bail};

use super::parameters::{Lists, MAX_TOP, PARAMETER_WORDS};
use super::{ListCapacity, SampleFault, SampleResult, SampleSpec, Sampled};
use crate::cuda::{Gpu, Grid, arguments, tensor};
use crate::{Download, Upload};

/// Words of a row's result: token, status, log-probabilities of the token and of the most likely tokens,
/// and the most likely tokens.
const ROW_WORDS: usize = 2 + (MAX_TOP + 1) + MAX_TOP;

/// Samples the rows of logits on a GPU. It allocates its memory once, so that
/// [`launch`](Self::launch) can be part of a [`crate::Graph`].
#[derive(Debug)]
pub struct DeviceSampler {
    max_rows: usize,
    vocab: usize,
    results: Download,
    lists: Upload,
    capacity: ListCapacity,
    /// The original values of the logits that penalties and biases change.
    undo: Tensor,
}

impl DeviceSampler {
    /// Words per row of parameters.
    pub const PARAMETER_WORDS: usize = PARAMETER_WORDS;

    /// Creates a sampler for at most `max_rows` rows.
    ///
    /// # Errors
    /// The device is not a CUDA device, or memory ran out.
    pub fn new(
        max_rows: usize,
        vocab: usize,
        capacity: ListCapacity,
        device: &Device,
    ) -> Result<Self> {
        let changed = (capacity.history + capacity.bias).max(1);
        Ok(Self {
            max_rows,
            vocab,
            results: Download::new(max_rows * ROW_WORDS, device)?,
            lists: Upload::new(capacity.words(), device)?,
            capacity,
            undo: Tensor::zeros(changed, DType::F32, device)?,
        })
    }

    /// Writes the parameters of each row to `parameters`, [`PARAMETER_WORDS`] per row, which the caller
    /// copies to the device. Sends histories and biases to the device, if there are any.
    ///
    /// [`PARAMETER_WORDS`]: Self::PARAMETER_WORDS
    ///
    /// # Errors
    /// A token is outside the vocabulary, a row requests too many log-probabilities, or the lists are
    /// longer than their capacity.
    pub fn stage(&mut self, specs: &[SampleSpec<'_>], parameters: &mut [u32]) -> Result<()> {
        let has_lists = specs.iter().any(SampleSpec::changes_logits);
        let words = if has_lists {
            self.lists.words()?
        } else {
            &mut []
        };
        let mut lists = Lists::new(self.vocab, self.capacity);
        for (spec, row) in specs
            .iter()
            .zip(parameters.chunks_exact_mut(PARAMETER_WORDS))
        {
            lists.push(spec, row, words)?;
        }
        if has_lists {
            self.lists.send(lists.used_words())
        } else {
            Ok(())
        }
    }

    /// Launches the sampling of `logits`, f32 `[rows, vocab]`, with `parameters`, u32,
    /// [`PARAMETER_WORDS`] per row. The tokens stay on the device: [`tokens`](Self::tokens).
    ///
    /// [`PARAMETER_WORDS`]: Self::PARAMETER_WORDS
    ///
    /// # Errors
    /// A shape or a type does not match.
    pub fn launch(&self, logits: &Tensor, parameters: &Tensor) -> Result<()> {
        let (rows, vocab) = logits.dims2()?;
        if rows > self.max_rows
            || vocab != self.vocab
            || parameters.elem_count() != rows * PARAMETER_WORDS
        {
            bail!(
                "sample: logits {:?} and {} words of parameters for a sampler of {} rows of {}",
                logits.shape(),
                parameters.elem_count(),
                self.max_rows,
                self.vocab
            );
        }
        let gpu = Gpu::of(logits.device().as_cuda_device()?)?;
        let results = tensor("results", self.results.tensor())?.of("results", DType::U32)?;
        let lists = tensor("lists", self.lists.tensor())?.of("lists", DType::U32)?;
        let word = |address: u64, words: usize| address + (words * size_of::<u32>()) as u64;
        let [tokens, status, logprobs, top_tokens] = self.result_offsets();
        let arguments = arguments::Sample {
            tokens: word(results, tokens),
            status: word(results, status),
            logprobs: word(results, logprobs),
            top_tokens: word(results, top_tokens),
            undo: tensor("undo", &self.undo)?.of("undo", DType::F32)?,
            logits: tensor("logits", logits)?.of("logits", DType::F32)?,
            params: tensor("parameters", parameters)?.of("parameters", DType::U32)?,
            history: word(lists, self.capacity.history_offset()),
            bias_tokens: lists,
            bias_values: word(lists, self.capacity.values_offset()),
            live: gpu.live_rows(rows)?,
            vocab: vocab as u32,
            history_capacity: self.capacity.history as u32,
        };
        // Two bits per token: whether it is in the history, and whether it has been handled.
        let shared_bytes = 2 * size_of::<u32>() * vocab.div_ceil(32);
        let grid = Grid::new(rows, 1, 1).shared(shared_bytes);
        // SAFETY: the result, list and undo buffers are large enough for these rows and lists.
        unsafe { gpu.launch(None, 0, grid, &arguments) }
    }

    /// The tokens that were sampled last, u32 `[max_rows]`, on the device.
    ///
    /// # Errors
    /// Never for an existing sampler.
    pub fn tokens(&self) -> Result<Tensor> {
        self.results.tensor().narrow(0, 0, self.max_rows)
    }

    /// Waits for the last launch and returns the result of each row. `specs` must be those of the
    /// launch.
    ///
    /// # Errors
    /// Work on the device failed. A row that cannot be sampled has its own error.
    pub fn collect(&mut self, specs: &[SampleSpec<'_>]) -> Result<Vec<SampleResult>> {
        let has_logprobs = specs.iter().any(|spec| spec.logprobs.is_some());
        let [tokens, status, logprobs, top_tokens] = self.result_offsets();
        let needed = if has_logprobs {
            self.max_rows * ROW_WORDS
        } else {
            logprobs
        };
        let words = self.results.receive(needed)?;
        let results = Results {
            tokens: &words[tokens..],
            status: &words[status..],
            logprobs: &words[logprobs..],
            top_tokens: words.get(top_tokens..).unwrap_or_default(),
        };
        let rows = specs.iter().enumerate();
        Ok(rows
            .map(|(row, spec)| results.row(row, spec.logprobs))
            .collect())
    }

    /// The offsets of tokens, statuses, log-probabilities and most likely tokens.
    fn result_offsets(&self) -> [usize; 4] {
        let rows = self.max_rows;
        [0, rows, 2 * rows, (2 + MAX_TOP + 1) * rows]
    }
}

/// The log-probabilities of given tokens, one per row of `logits`, f32 `[r, vocab]`.
pub(super) fn token_logprobs(
    logits: &Tensor,
    tokens: &[u32],
    top: usize,
) -> Result<Vec<SampleResult>> {
    let (rows, vocab) = logits.dims2()?;
    if top > MAX_TOP {
        bail!("at most {MAX_TOP} log-probabilities per token are supported, not {top}");
    }
    let device = logits.device();
    let gpu = Gpu::of(device.as_cuda_device()?)?;
    let mut results = Download::new(rows * ROW_WORDS, device)?;
    let chosen = Tensor::new(tokens, device)?;
    let address = tensor("results", results.tensor())?.of("results", DType::U32)?;
    let word = |words: usize| address + (words * size_of::<u32>()) as u64;
    let [status, logprobs, top_tokens] = [0, rows, (1 + MAX_TOP + 1) * rows];
    let arguments = arguments::TokenLogprobs {
        logprobs: word(logprobs),
        top_tokens: word(top_tokens),
        status: word(status),
        logits: tensor("logits", logits)?.of("logits", DType::F32)?,
        tokens: tensor("tokens", &chosen)?.of("tokens", DType::U32)?,
        live: gpu.live_rows(rows)?,
        vocab: vocab as u32,
        top: top as u32,
    };
    // SAFETY: `results` has as many words per row as the kernel writes, and the tokens were checked.
    unsafe { gpu.launch(None, 0, Grid::new(rows, 1, 1), &arguments)? };
    let words = results.receive(rows * ROW_WORDS)?;
    let results = Results {
        tokens,
        status: &words[status..],
        logprobs: &words[logprobs..],
        top_tokens: &words[top_tokens..],
    };
    Ok((0..rows).map(|row| results.row(row, Some(top))).collect())
}

/// The kernels' results, row by row.
struct Results<'a> {
    tokens: &'a [u32],
    status: &'a [u32],
    /// `[rows, MAX_TOP + 1]`, bit patterns of f32.
    logprobs: &'a [u32],
    /// `[rows, MAX_TOP]`
    top_tokens: &'a [u32],
}

impl Results<'_> {
    fn row(&self, row: usize, logprobs: Option<usize>) -> SampleResult {
        match self.status[row] {
            0 => {}
            1 => return Err(SampleFault::Nan),
            2 => return Err(SampleFault::NotFinite),
            _ => return Err(SampleFault::Unsteady),
        }
        let logprob = |i: usize| f32::from_bits(self.logprobs[row * (MAX_TOP + 1) + i]);
        let top = logprobs.unwrap_or(0);
        Ok(Sampled {
            token: self.tokens[row],
            logprob: logprobs.map(|_| logprob(0)),
            top: (0..top)
                .map(|i| (self.top_tokens[row * MAX_TOP + i], logprob(1 + i)))
                .collect(),
        })
    }
}
