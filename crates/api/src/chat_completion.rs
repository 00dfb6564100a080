//! The complete answer to a chat request.

use serde::{Deserialize, Serialize};

use crate::memory::allocated_bytes;
use crate::{FinishReason, ToolCall, Usage, UsedAdapter};

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
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(tag = "role", rename = "assistant")]
pub struct AssistantMessage {
    /// The text; null if there are only calls of tools.
    pub content: Option<String>,
    /// A vendor's refusal. Models of this server have none.
    pub refusal: Option<String>,
    /// The reasoning that a vendor shows, in the field that vLLM and DeepSeek use.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reasoning_content: Option<String>,
    /// Calls of tools.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tool_calls: Vec<ToolCall>,
}

/// Log-probabilities of a choice or a chunk.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ChatLogprobs {
    /// One entry per token.
    #[serde(default)]
    pub content: Vec<ChatLogprob>,
    /// A vendor's, for the tokens of a refusal.
    pub refusal: Option<Vec<ChatLogprob>>,
}

/// The log-probability of a token, and of the most likely alternatives.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ChatLogprob {
    /// The token.
    #[serde(flatten)]
    pub chosen: ChatTopLogprob,
    /// The most likely tokens, most likely first.
    #[serde(default)]
    pub top_logprobs: Vec<ChatTopLogprob>,
}

/// A token's log-probability.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ChatTopLogprob {
    /// Its bytes as text. Invalid UTF-8 becomes U+FFFD.
    pub token: String,
    /// Natural logarithm.
    pub logprob: f32,
    /// Its exact bytes; null where a vendor does not tell them.
    pub bytes: Option<Vec<u8>>,
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
        size_of::<Self>()
            + allocated_bytes(self.token.len())
            + allocated_bytes(self.bytes.as_ref().map_or(0, Vec::len))
    }
}
