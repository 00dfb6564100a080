//! The answer to a completion request, whole or a piece of it: OpenAI uses one shape for both.

use serde::{Serialize, Serializer};

use crate::{FinishReason, StreamedUsage, UsedAdapter};

/// A `text_completion` object.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "object", rename = "text_completion")]
pub struct Completion {
    /// `cmpl-` and something unique.
    pub id: String,
    /// Unix seconds.
    pub created: u64,
    /// The name the request used.
    pub model: String,
    /// The adapter that computed it; null for the base model.
    pub adapter: Option<UsedAdapter>,
    /// What made it.
    pub system_fingerprint: String,
    /// Ordered by index in a whole answer; one, or none, in a chunk.
    pub choices: Vec<CompletionChoice>,
    /// What it took.
    #[serde(skip_serializing_if = "StreamedUsage::is_absent")]
    pub usage: StreamedUsage,
}

/// One of the `n` continuations of one prompt, or a piece of it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CompletionChoice {
    /// The prompt's index times `n`, plus the continuation's.
    pub index: usize,
    /// The text, with `echo` the prompt first.
    pub text: String,
    /// Null unless asked for.
    pub logprobs: Option<CompletionLogprobs>,
    /// Null until the choice ends.
    pub finish_reason: Option<FinishReason>,
}

/// The log-probabilities of a text: four lists of equal length, one entry a token.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct CompletionLogprobs {
    /// Each token's text; what is not UTF-8 is replaced by U+FFFD.
    pub tokens: Vec<String>,
    /// Natural logarithms; null for a prompt's first token.
    pub token_logprobs: Vec<Option<f32>>,
    /// The likeliest tokens and the token itself; null for a prompt's first token.
    pub top_logprobs: Vec<Option<TopLogprobs>>,
    /// In characters from the start of the choice's text.
    pub text_offset: Vec<usize>,
}

/// Texts of tokens with their log-probabilities: on the wire an object, in this order.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TopLogprobs(Vec<(String, f32)>);

impl TopLogprobs {
    /// Adds a token, unless one of the same text is there: an object has a name but once.
    pub fn add(&mut self, text: String, logprob: f32) {
        if self.0.iter().all(|(earlier, _)| *earlier != text) {
            self.0.push((text, logprob));
        }
    }
}

impl Serialize for TopLogprobs {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_map(self.0.iter().map(|(text, logprob)| (text, logprob)))
    }
}

impl CompletionLogprobs {
    /// Adds the entries of a later piece.
    pub fn append(&mut self, mut later: Self) {
        self.tokens.append(&mut later.tokens);
        self.token_logprobs.append(&mut later.token_logprobs);
        self.top_logprobs.append(&mut later.top_logprobs);
        self.text_offset.append(&mut later.text_offset);
    }
}
