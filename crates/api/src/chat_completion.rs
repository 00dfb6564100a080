//! The whole answer to a chat request.

use serde::Serialize;

use crate::{FinishReason, Usage, UsedAdapter};

/// A `chat.completion` object.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "object", rename = "chat.completion")]
pub struct ChatCompletion {
    /// `chatcmpl-` and something unique.
    pub id: String,
    /// Unix seconds.
    pub created: u64,
    /// The name the request used.
    pub model: String,
    /// The adapter that computed it; null for the base model.
    pub adapter: Option<UsedAdapter>,
    /// Ordered by index.
    pub choices: Vec<ChatChoice>,
    /// What it took.
    pub usage: Usage,
    /// What made it.
    pub system_fingerprint: String,
}

/// One of the `n` answers.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ChatChoice {
    /// From 0 to `n`.
    pub index: usize,
    /// The answer.
    pub message: AssistantMessage,
    /// Null unless asked for.
    pub logprobs: Option<ChatLogprobs>,
    /// Why it ended.
    pub finish_reason: FinishReason,
}

/// What the model said.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "role", rename = "assistant")]
pub struct AssistantMessage {
    /// The text.
    pub content: String,
    /// Always null: there is no moderation here that would refuse.
    pub refusal: Option<String>,
}

/// The log-probabilities of a choice or a chunk.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct ChatLogprobs {
    /// One entry a token.
    pub content: Vec<ChatLogprob>,
    /// Always null, as is the refusal it would describe.
    pub refusal: Option<Vec<ChatLogprob>>,
}

/// A token's log-probability beside the likeliest alternatives'.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ChatLogprob {
    /// The token itself.
    #[serde(flatten)]
    pub chosen: ChatTopLogprob,
    /// The likeliest tokens, likeliest first.
    pub top_logprobs: Vec<ChatTopLogprob>,
}

/// A token's log-probability.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ChatTopLogprob {
    /// Its bytes as text; what is not UTF-8 is replaced by U+FFFD.
    pub token: String,
    /// Natural logarithm.
    pub logprob: f32,
    /// Its exact bytes.
    pub bytes: Vec<u8>,
}
