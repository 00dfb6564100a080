//! How a token is chosen, and what came of it.

/// How the next token of a sequence is chosen; OpenAI's and vLLM's parameters, already checked.
#[derive(Clone, Debug, PartialEq)]
pub struct SamplingParams {
    /// Divides the logits; 0 is greedy.
    pub temperature: f32,
    /// Keep the smallest set of tokens whose probability reaches this; 1 keeps all.
    pub top_p: f32,
    /// Keep this many of the likeliest tokens; 0 keeps all.
    pub top_k: usize,
    /// Keep tokens at least this share as likely as the likeliest; 0 keeps all.
    pub min_p: f32,
    /// Subtracted from the logit of every token already generated.
    pub presence_penalty: f32,
    /// Subtracted from a token's logit once for each time it was generated.
    pub frequency_penalty: f32,
    /// Divides positive and multiplies negative logits of tokens in the prompt or output; 1 is off.
    pub repetition_penalty: f32,
    /// Added to the logit of a token.
    pub logit_bias: Vec<(u32, f32)>,
    /// With the position it fixes the random number of every token.
    pub seed: u64,
    /// Return the log-probability of each sampled token and of this many of the likeliest.
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
    /// Whether any penalty looks at the tokens so far.
    pub fn has_penalties(&self) -> bool {
        self.presence_penalty != 0.0
            || self.frequency_penalty != 0.0
            || self.repetition_penalty != 1.0
    }
}

/// Natural-log probability of a token under the unmodified distribution of the model.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TokenLogprob {
    /// The token.
    pub token: u32,
    /// ln p(token).
    pub logprob: f32,
}

/// What one row of a batch brought back.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SampledToken {
    /// The sampled token; `None` for a row that only filled the cache.
    pub token: Option<u32>,
    /// The sampled token's log-probability, then the likeliest tokens', when asked for.
    pub logprobs: Option<TokenLogprobs>,
    /// One entry a prompt token that this row told, in order, when asked for.
    pub prompt_logprobs: Vec<TokenLogprobs>,
}

/// A token's own log-probability beside those of the likeliest tokens, likeliest first.
#[derive(Clone, Debug, PartialEq)]
pub struct TokenLogprobs {
    /// The token that was sampled, or that stood in the prompt.
    pub chosen: TokenLogprob,
    /// The likeliest tokens.
    pub top: Vec<TokenLogprob>,
}
