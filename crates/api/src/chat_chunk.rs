//! A piece of a streamed answer to a chat request.

use serde::Serialize;

use crate::{ChatLogprobs, FinishReason, StreamedUsage, UsedAdapter};

/// A `chat.completion.chunk` object.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "object", rename = "chat.completion.chunk")]
pub struct ChatChunk {
    /// The same in all chunks of an answer.
    pub id: String,
    /// Unix seconds, the same in all chunks of an answer.
    pub created: u64,
    /// The name the request used.
    pub model: String,
    /// The adapter that computed it; null for the base model.
    pub adapter: Option<UsedAdapter>,
    /// What made it.
    pub system_fingerprint: String,
    /// One, or none in the chunk that tells the usage.
    pub choices: Vec<ChatChunkChoice>,
    /// What the answer took, in the last chunk.
    #[serde(skip_serializing_if = "StreamedUsage::is_absent")]
    pub usage: StreamedUsage,
}

/// What a chunk adds to one choice.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ChatChunkChoice {
    /// From 0 to `n`.
    pub index: usize,
    /// What is added.
    pub delta: ChatDelta,
    /// Null unless asked for.
    pub logprobs: Option<ChatLogprobs>,
    /// Null until the choice ends.
    pub finish_reason: Option<FinishReason>,
}

/// What a chunk adds to a message.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ChatDelta {
    /// `assistant`, in the first chunk of a choice.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<&'static str>,
    /// More text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content: Option<String>,
}
