//! Sampling parameters and results.

/// How to sample the next token of a sequence. These are OpenAI's and vLLM's parameters, already
/// validated.
#[derive(Clone, Debug, PartialEq)]
pub struct SamplingParams {
    /// Divides the logits; 0 means greedy sampling.
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
    /// Divides positive logits and multiplies negative ones, for tokens of the prompt and the
    /// output; 1 is off.
    pub repetition_penalty: f32,
    /// Token ids and what is added to their logits.
    pub logit_bias: Vec<(u32, f32)>,
    /// Seed of the random numbers. Seed and position determine the number for each token.
    pub seed: u64,
    /// Return the log-probability of each sampled token and of this many of the most likely ones.
    pub logprobs: Option<usize>,
}

impl Default for SamplingParams {
    fn default() -> Self {
        Self {
            temperature: 1.0,
            top_p: 1.0,
            top_k: 0,
            min_p: 0.0,
            presence_penalty: 0.0,
            frequency_penalty: 0.0,
            repetition_penalty: 1.0,
            logit_bias: Vec::new(),
            seed: 0,
            logprobs: None,
        }
    }
}

impl SamplingParams {
    /// Whether any penalty depends on the earlier tokens.
    pub fn has_penalties(&self) -> bool {
        self.presence_penalty != 0.0
            || self.frequency_penalty != 0.0
            || self.repetition_penalty != 1.0
    }
}

/// Natural logarithm of a token's probability under the model's unmodified distribution.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TokenLogprob {
    /// The token.
    pub token: u32,
    /// ln p(token).
    pub logprob: f32,
}

/// The result of one row of a batch.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SampledToken {
    /// The sampled token; `None` if the row only filled the cache.
    pub token: Option<u32>,
    /// Log-probabilities of the sampled token and the most likely ones, if requested.
    pub logprobs: Option<TokenLogprobs>,
    /// One entry per prompt token whose log-probability this row computed, in order, if requested.
    pub prompt_logprobs: Vec<TokenLogprobs>,
    /// Why the row failed. Its sequence ends with [`FinishReason::Error`](crate::FinishReason::Error);
    /// the other rows of the step are not affected.
    pub error: Option<String>,
}

impl SampledToken {
    /// Marks the row as failed. The first reason is kept.
    pub fn fail(&mut self, reason: impl ToString) {
        self.error.get_or_insert_with(|| reason.to_string());
    }
}

/// The log-probability of a token beside those of the most likely tokens.
#[derive(Clone, Debug, PartialEq)]
pub struct TokenLogprobs {
    /// The token that was sampled, or the prompt token.
    pub chosen: TokenLogprob,
    /// The most likely tokens, most likely first.
    pub top: Vec<TokenLogprob>,
}
