//! The complete answer to a chat request.

use serde::Serialize;

use crate::memory::allocated_bytes;
use crate::{FinishReason, Usage, UsedAdapter};

/// A `chat.completion` object.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "object", rename = "chat.completion")]
pub struct ChatCompletion {
    /// `chatcmpl-` and a unique suffix.
    pub id: String,
    /// Unix seconds.
    pub created: u64,
    /// The name in the request.
    pub model: String,
    /// The adapter that computed it; null for the base model.
    pub adapter: Option<UsedAdapter>,
    /// Ordered by index.
    pub choices: Vec<ChatChoice>,
    /// Tokens and cost.
    pub usage: Usage,
    /// Identifies the server and the model.
    pub system_fingerprint: String,
}

/// One of the `n` choices.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ChatChoice {
    /// Index of the choice, below `n`.
    pub index: usize,
    /// The answer.
    pub message: AssistantMessage,
    /// Null unless requested.
    pub logprobs: Option<ChatLogprobs>,
    /// Why it ended.
    pub finish_reason: FinishReason,
}

/// The message of the model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "role", rename = "assistant")]
pub struct AssistantMessage {
    /// The text.
    pub content: String,
    /// Always null: there is no moderation.
    pub refusal: Option<String>,
}

/// Log-probabilities of a choice or a chunk.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct ChatLogprobs {
    /// One entry per token.
    pub content: Vec<ChatLogprob>,
    /// Always null, like `refusal` of the message.
    pub refusal: Option<Vec<ChatLogprob>>,
}

/// The log-probability of a token, and of the most likely alternatives.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ChatLogprob {
    /// The token.
    #[serde(flatten)]
    pub chosen: ChatTopLogprob,
    /// The most likely tokens, most likely first.
    pub top_logprobs: Vec<ChatTopLogprob>,
}

/// A token's log-probability.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ChatTopLogprob {
    /// Its bytes as text. Invalid UTF-8 becomes U+FFFD.
    pub token: String,
    /// Natural logarithm.
    pub logprob: f32,
    /// Its exact bytes.
    pub bytes: Vec<u8>,
}

impl ChatLogprobs {
    /// About how many bytes of memory it takes.
    pub fn memory_bytes(&self) -> usize {
        let entry = |entry: &ChatLogprob| {
            let top = entry.top_logprobs.iter();
            entry.chosen.memory_bytes() + top.map(ChatTopLogprob::memory_bytes).sum::<usize>()
        };
        self.content.iter().map(entry).sum()
    }
}

impl ChatTopLogprob {
    fn memory_bytes(&self) -> usize {
        size_of::<Self>() + allocated_bytes(self.token.len()) + allocated_bytes(self.bytes.len())
    }
}
