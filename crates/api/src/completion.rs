//! The answer to a completion request, whole or one chunk: OpenAI uses the same object for both.

use serde::{Serialize, Serializer};

use crate::memory::allocated_bytes;
use crate::{FinishReason, StreamedUsage, UsedAdapter};

/// A `text_completion` object.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "object", rename = "text_completion")]
pub struct Completion {
    /// `cmpl-` and a unique suffix.
    pub id: String,
    /// Unix seconds.
    pub created: u64,
    /// The name in the request.
    pub model: String,
    /// The adapter that computed it; null for the base model.
    pub adapter: Option<UsedAdapter>,
    /// Identifies the server and the model.
    pub system_fingerprint: String,
    /// Ordered by index in a whole answer; at most one in a chunk.
    pub choices: Vec<CompletionChoice>,
    /// Tokens and cost.
    #[serde(skip_serializing_if = "StreamedUsage::is_absent")]
    pub usage: StreamedUsage,
}

/// One of the `n` continuations of a prompt, or a chunk of it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CompletionChoice {
    /// The index of the prompt times `n`, plus the index of the continuation.
    pub index: usize,
    /// The text; with `echo` it starts with the prompt.
    pub text: String,
    /// Null unless requested.
    pub logprobs: Option<CompletionLogprobs>,
    /// Null until the choice ends.
    pub finish_reason: Option<FinishReason>,
}

/// Log-probabilities of a text: four lists of equal length, one entry per token.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct CompletionLogprobs {
    /// The text of each token. Invalid UTF-8 becomes U+FFFD.
    pub tokens: Vec<String>,
    /// Natural logarithms; null for the first token of a prompt.
    pub token_logprobs: Vec<Option<f32>>,
    /// The most likely tokens and the token itself; null for the first token of a prompt.
    pub top_logprobs: Vec<Option<TopLogprobs>>,
    /// Offset in characters from the start of the choice's text.
    pub text_offset: Vec<usize>,
}

/// Texts of tokens with their log-probabilities. In JSON it is an object with this order.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TopLogprobs(Vec<(String, f32)>);

impl TopLogprobs {
    /// Takes texts that are all different: keys of an object are unique.
    pub fn new(tokens: Vec<(String, f32)>) -> Self {
        Self(tokens)
    }
}

impl Serialize for TopLogprobs {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_map(self.0.iter().map(|(text, logprob)| (text, logprob)))
    }
}

impl CompletionLogprobs {
    /// About how many bytes of memory it takes.
    pub fn memory_bytes(&self) -> usize {
        let fixed = size_of::<(String, Option<f32>, Option<TopLogprobs>, usize)>();
        let texts = self.tokens.iter().map(|text| allocated_bytes(text.len()));
        let top = self.top_logprobs.iter().flatten().flat_map(|top| &top.0);
        let top = top.map(|(text, _)| size_of::<(String, f32)>() + allocated_bytes(text.len()));
        self.tokens.len() * fixed + texts.sum::<usize>() + top.sum::<usize>()
    }

    /// Appends the entries of a later chunk.
    pub fn append(&mut self, mut later: Self) {
        self.tokens.append(&mut later.tokens);
        self.token_logprobs.append(&mut later.token_logprobs);
        self.top_logprobs.append(&mut later.top_logprobs);
        self.text_offset.append(&mut later.text_offset);
    }
}
