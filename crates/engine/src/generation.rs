//! Requests to the engine and the events of their answers.

use std::sync::Arc;

use farthing_model::LoraAdapter;
use farthing_scheduler::{CacheSalt, FinishReason, SamplingParams, TokenLogprobs};
use tokio::sync::mpsc::UnboundedSender;

use crate::{DeviceBudget, SplitBasis, TokenSeconds};

/// A prompt as token ids, and how to continue it.
#[derive(Clone, Debug)]
pub struct GenerationRequest {
    /// Token ids; never empty.
    pub prompt: Vec<u32>,
    /// The adapter; `None` for the base model. The request keeps the weights in memory until it
    /// ends, even if the adapter's name is reassigned.
    pub adapter: Option<Arc<LoraAdapter>>,
    /// Cached prefixes are shared only with requests of the same salt.
    pub cache_salt: Option<CacheSalt>,
    /// Number of independent choices. Choice `i` samples with `sampling.seed + i`.
    pub n: usize,
    /// Sampling parameters.
    pub sampling: SamplingParams,
    /// Maximum number of generated tokens per choice; `None` allows the rest of the context.
    pub max_tokens: Option<usize>,
    /// The text ends before the first of these strings, even if it spans several tokens.
    pub stop: Vec<String>,
    /// Continue after end-of-sequence tokens.
    pub ignore_eos: bool,
    /// Return log-probabilities of the prompt's tokens, with this many alternatives.
    pub prompt_logprobs: Option<usize>,
    /// Whether the answer continues the prompt's text (a completion) or is a text of its own (a
    /// chat message). SentencePiece tokenizers drop a leading space only in the second case.
    pub continues_text: bool,
    /// Limits the device time of this request and others together.
    pub budget: Option<Arc<DeviceBudget>>,
    /// Receives the account of each choice when it is closed, also if the stream was dropped
    /// before.
    pub receipts: Option<UnboundedSender<Receipt>>,
}

/// The closed account of a choice.
#[derive(Clone, Debug, PartialEq)]
pub struct Receipt {
    /// Index of the choice.
    pub index: usize,
    /// Why it ended.
    pub reason: FinishReason,
    /// What it used, including tokens after a stop string.
    pub usage: GenerationUsage,
}

/// An event of an answer. Events of different choices interleave; those of one choice are in order,
/// and each choice ends with `Finished`.
#[derive(Clone, Debug)]
pub enum GenerationEvent {
    /// The prompt's tokens with their log-probabilities. Sent once, before any `Delta`.
    Prompt(Vec<PromptToken>),
    /// More text of a choice. `text` may be empty while a character or a possible stop string is
    /// incomplete. `tokens` may be empty when held-back text is sent.
    Delta {
        /// Index of the choice.
        index: usize,
        /// Complete characters only.
        text: String,
        /// The tokens that this step sampled.
        tokens: Vec<GeneratedToken>,
    },
    /// The choice ended with `Stop` (an end-of-sequence token or a stop string) or `Length`.
    Finished {
        /// Index of the choice.
        index: usize,
        /// Why it ended.
        reason: FinishReason,
        /// What it used.
        usage: GenerationUsage,
    },
    /// The request's budget is used up. No event follows.
    OverBudget,
    /// The engine failed the request. No event follows.
    Failed {
        /// The reason, in words for the caller.
        message: String,
    },
    /// The request was cancelled because too much of its answer was not read. No event follows, and
    /// what was not read is lost.
    CutOff,
}

/// A sampled token.
#[derive(Clone, Debug, PartialEq)]
pub struct GeneratedToken {
    /// The token's id.
    pub id: u32,
    /// Log-probabilities of the token and the most likely alternatives, if requested.
    pub logprobs: Option<TokenLogprobs>,
}

/// A token of the prompt. The first one has no log-probability.
#[derive(Clone, Debug, PartialEq)]
pub struct PromptToken {
    /// The token's id.
    pub id: u32,
    /// Its log-probability given the tokens before it.
    pub logprobs: Option<TokenLogprobs>,
}

/// What one choice used. Times are in seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct GenerationUsage {
    /// Tokens of the prompt.
    pub prompt_tokens: usize,
    /// Tokens of the prompt found in the prefix cache.
    pub cached_tokens: usize,
    /// Tokens generated, including an end-of-sequence token.
    pub completion_tokens: usize,
    /// The choice's share of the measured device time of its steps.
    pub device_seconds: f64,
    /// The same by class of token. The sum is less than `device_seconds` if a step failed.
    pub token_seconds: TokenSeconds,
    /// How the steps were split; [`SplitBasis::Tokens`] if any of them was split by tokens.
    pub basis: SplitBasis,
    /// From arrival at the engine to the first step.
    pub queue_seconds: f64,
    /// From the first step to the first token.
    pub prefill_seconds: f64,
    /// From the first token to the last.
    pub decode_seconds: f64,
    /// How often it was preempted.
    pub preemptions: usize,
}
