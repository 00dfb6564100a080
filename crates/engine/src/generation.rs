//! What a caller asks of the engine, and what it hears back.

use std::sync::Arc;

use farthing_model::LoraAdapter;
use farthing_scheduler::{FinishReason, SamplingParams, TokenLogprobs};
use tokio::sync::mpsc::UnboundedSender;

use crate::{SplitBasis, TokenSeconds};

/// A prompt as token ids and how to go on from it.
#[derive(Clone, Debug)]
pub struct GenerationRequest {
    /// Token ids; never empty.
    pub prompt: Vec<u32>,
    /// The adapter, or none for the base model. The request keeps it in memory to its end, whatever
    /// becomes of the name that it went by.
    pub adapter: Option<Arc<LoraAdapter>>,
    /// How many independent continuations; choice `i` samples with `sampling.seed + i`.
    pub n: usize,
    /// How to sample.
    pub sampling: SamplingParams,
    /// End each continuation after this many tokens; `None` goes on to the end of the context.
    pub max_tokens: Option<usize>,
    /// End before the first of these strings, even where it spans tokens.
    pub stop: Vec<String>,
    /// Go on past the model's end-of-sequence tokens.
    pub ignore_eos: bool,
    /// Tell the log-probabilities of the prompt's tokens, with this many alternatives.
    pub prompt_logprobs: Option<usize>,
    /// Whether the answer goes on from the prompt's text (a completion) rather than beginning a
    /// text of its own (a chat message): a SentencePiece tokenizer drops a space there.
    pub continues_text: bool,
    /// Where each choice's account is sent when it is closed, also where nobody reads the answer
    /// any more.
    pub receipts: Option<UnboundedSender<Receipt>>,
}

/// The closed account of a choice.
#[derive(Clone, Debug, PartialEq)]
pub struct Receipt {
    /// Which of the `n` choices.
    pub index: usize,
    /// Why it ended.
    pub reason: FinishReason,
    /// What it used, tokens after a stop string included.
    pub usage: GenerationUsage,
}

/// A step of the answer. Events of different choices interleave; within a choice they are in
/// order, and each choice ends with `Finished`.
#[derive(Clone, Debug)]
pub enum GenerationEvent {
    /// The prompt's tokens with their log-probabilities, once, before any `Delta`.
    Prompt(Vec<PromptToken>),
    /// More text of choice `index`. `text` may be empty while a character or a possible stop
    /// string is incomplete; `tokens` may be empty when held-back text is let go.
    Delta {
        /// Which of the `n` choices.
        index: usize,
        /// Complete characters only.
        text: String,
        /// The tokens this step sampled.
        tokens: Vec<GeneratedToken>,
    },
    /// Choice `index` ended: `Stop` (end-of-sequence token or stop string) or `Length`.
    Finished {
        /// Which of the `n` choices.
        index: usize,
        /// Why.
        reason: FinishReason,
        /// What it used.
        usage: GenerationUsage,
    },
    /// The engine failed this request; no event follows.
    Failed {
        /// What went wrong, for the caller's eyes.
        message: String,
    },
}

/// A sampled token.
#[derive(Clone, Debug, PartialEq)]
pub struct GeneratedToken {
    /// Its id.
    pub id: u32,
    /// Its log-probability and the likeliest alternatives', when asked for.
    pub logprobs: Option<TokenLogprobs>,
}

/// A token of the prompt; the first has no log-probability.
#[derive(Clone, Debug, PartialEq)]
pub struct PromptToken {
    /// Its id.
    pub id: u32,
    /// Its log-probability given what stands before it.
    pub logprobs: Option<TokenLogprobs>,
}

/// What one choice used. Times are in seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct GenerationUsage {
    /// Tokens of the prompt.
    pub prompt_tokens: usize,
    /// Tokens of the prompt found in the prefix cache.
    pub cached_tokens: usize,
    /// Tokens generated, an end-of-sequence token included.
    pub completion_tokens: usize,
    /// The choice's share of the measured device time of the steps it was in.
    pub device_seconds: f64,
    /// The same by kind of token; together less than `device_seconds` where a step failed.
    pub token_seconds: TokenSeconds,
    /// What the steps were split by; [`SplitBasis::Tokens`] where some of them were.
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
