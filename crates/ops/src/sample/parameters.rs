//! The parameters of sampling in the layout of `Params` in `kernels/sample.cu`.

#[cfg(test)]
mod tests;

use candle_core::{Result, bail};

use super::{ListCapacity, SampleSpec};

/// Maximum number of alternatives with log-probabilities.
pub(crate) const MAX_TOP: usize = 20;

/// Words of a row's parameters.
pub(crate) const PARAMETER_WORDS: usize = 18;

/// The concatenated lists of all rows: biased tokens, then their biases, then histories.
pub(crate) struct Lists {
    vocab: usize,
    capacity: ListCapacity,
    history_len: usize,
    bias_len: usize,
}

impl ListCapacity {
    /// Words of all lists.
    pub(crate) fn words(self) -> usize {
        self.history_offset() + self.history
    }

    /// Where the biases begin.
    pub(crate) fn values_offset(self) -> usize {
        self.bias
    }

    /// Where the histories begin.
    pub(crate) fn history_offset(self) -> usize {
        2 * self.bias
    }
}

impl Lists {
    pub(crate) fn new(vocab: usize, capacity: ListCapacity) -> Self {
        Self {
            vocab,
            capacity,
            history_len: 0,
            bias_len: 0,
        }
    }

    /// Words up to the end of the last history.
    pub(crate) fn used_words(&self) -> usize {
        self.capacity.history_offset() + self.history_len
    }

    /// Writes a row's parameters, and appends its lists to those of earlier rows.
    ///
    /// # Errors
    /// A token is outside the vocabulary, the row requests too many log-probabilities, or the lists
    /// exceed their capacity.
    pub(crate) fn push(
        &mut self,
        spec: &SampleSpec<'_>,
        parameters: &mut [u32],
        lists: &mut [u32],
    ) -> Result<()> {
        let history = if spec.has_penalties() {
            spec.history
        } else {
            &[]
        };
        let bias = spec.logit_bias;
        self.check(spec, history)?;
        let (history_start, bias_start) = (self.history_len, self.bias_len);
        self.history_len += history.len();
        self.bias_len += bias.len();
        if !history.is_empty() {
            let histories = &mut lists[self.capacity.history_offset()..];
            histories[history_start..self.history_len].copy_from_slice(history);
        }
        for (i, (token, bias)) in (bias_start..).zip(bias) {
            lists[i] = *token;
            lists[self.capacity.values_offset() + i] = bias.to_bits();
        }
        let prompt_end = history_start + spec.history_prompt_tokens.min(history.len());
        let logprobs = spec.logprobs.map_or(0, |top| top + 1);
        parameters.copy_from_slice(&[
            spec.seed as u32,
            (spec.seed >> 32) as u32,
            spec.position as u32,
            (spec.position >> 32) as u32,
            spec.temperature.to_bits(),
            spec.top_p.to_bits(),
            spec.min_p.to_bits(),
            spec.presence_penalty.to_bits(),
            spec.frequency_penalty.to_bits(),
            spec.repetition_penalty.to_bits(),
            // A top-k of the whole vocabulary keeps all.
            u32::try_from(spec.top_k).unwrap_or(0),
            logprobs as u32,
            history_start as u32,
            prompt_end as u32,
            self.history_len as u32,
            bias_start as u32,
            self.bias_len as u32,
            0,
        ]);
        Ok(())
    }

    fn check(&self, spec: &SampleSpec<'_>, history: &[u32]) -> Result<()> {
        if spec.logprobs.is_some_and(|top| top > MAX_TOP) {
            bail!("sample: at most {MAX_TOP} log-probabilities per token are supported");
        }
        let biased = spec.logit_bias.iter().map(|(token, _)| token);
        let mut tokens = history.iter().chain(biased);
        if let Some(token) = tokens.find(|token| **token as usize >= self.vocab) {
            bail!(
                "sample: token {token} is outside the vocabulary of {} tokens",
                self.vocab
            );
        }
        if self.history_len + history.len() > self.capacity.history {
            bail!(
                "sample: the rows with penalties have more than {} tokens together: lower \
                 max_model_len or max_num_seqs",
                self.capacity.history
            );
        }
        if self.bias_len + spec.logit_bias.len() > self.capacity.bias {
            bail!(
                "sample: the rows have more than {} logit biases together",
                self.capacity.bias
            );
        }
        Ok(())
    }
}
