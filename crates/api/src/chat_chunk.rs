//! A chunk of a streamed chat answer.

use serde::Serialize;

use crate::{ChatLogprobs, FinishReason, StreamedUsage, ToolCallDelta, UsedAdapter};

/// A `chat.completion.chunk` object.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "object", rename = "chat.completion.chunk")]
pub struct ChatChunk {
    /// The id, equal in all chunks of an answer.
    pub id: String,
    /// Unix seconds, equal in all chunks of an answer.
    pub created: u64,
    /// The name in the request.
    pub model: String,
    /// The adapter that computed it; null for the base model.
    pub adapter: Option<UsedAdapter>,
    /// Identifies the server and the model.
    pub system_fingerprint: String,
    /// One choice; none in the chunk with the usage.
    pub choices: Vec<ChatChunkChoice>,
    /// The usage of the answer, in the last chunk.
    #[serde(skip_serializing_if = "StreamedUsage::is_absent")]
    pub usage: StreamedUsage,
}

/// One choice of a chunk.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ChatChunkChoice {
    /// Index of the choice, below `n`.
    pub index: usize,
    /// What is added to the message.
    pub delta: ChatDelta,
    /// Null unless requested.
    pub logprobs: Option<ChatLogprobs>,
    /// Null until the choice ends.
    pub finish_reason: Option<FinishReason>,
}

/// What is added to a message.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ChatDelta {
    /// `assistant`, in the first chunk of a choice.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<&'static str>,
    /// The next text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content: Option<String>,
    /// More of a refusal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refusal: Option<String>,
    /// More of the reasoning that a vendor shows, in the field that vLLM and DeepSeek use.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reasoning_content: Option<String>,
    /// Parts of calls of tools.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tool_calls: Vec<ToolCallDelta>,
}
