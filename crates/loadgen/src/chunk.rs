//! A chunk of a stream, parsed leniently.

use farthing_economics::read_exact_or_null;
use rust_decimal::Decimal;
use serde::Deserialize;
use serde_json::Value;

/// The fields of a chat or completion chunk that are needed here. Also used for answers that are
/// not streamed.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Chunk {
    pub choices: Vec<Choice>,
    pub usage: Option<UsageChunk>,
    /// Some servers report an error as an event within the stream.
    pub error: Option<Value>,
}

/// One choice.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Choice {
    /// For chats.
    pub delta: Option<Delta>,
    /// For completions.
    pub text: Option<String>,
    pub finish_reason: Option<String>,
}

/// The text added to a message. Reasoning counts as text too.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Delta {
    pub content: Option<String>,
    pub reasoning: Option<String>,
    pub reasoning_content: Option<String>,
}

/// The server's token counts.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct UsageChunk {
    pub prompt_tokens: u64,
    pub completion_tokens: u64,
    pub prompt_tokens_details: Option<PromptDetails>,
    /// Farthing's extension.
    pub cost: Option<CostChunk>,
}

/// Details of the prompt's tokens.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct PromptDetails {
    pub cached_tokens: Option<u64>,
}

/// The cost of an answer, as metered by Farthing.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct CostChunk {
    pub device_seconds: Option<f64>,
    #[serde(deserialize_with = "read_exact_or_null")]
    pub usd: Option<Decimal>,
}

impl Chunk {
    pub(crate) fn has_text(&self) -> bool {
        let is_text = |text: &Option<String>| text.as_ref().is_some_and(|text| !text.is_empty());
        self.choices.iter().any(|choice| {
            let delta = choice.delta.as_ref();
            is_text(&choice.text)
                || delta.is_some_and(|delta| {
                    is_text(&delta.content)
                        || is_text(&delta.reasoning)
                        || is_text(&delta.reasoning_content)
                })
        })
    }

    pub(crate) fn has_end(&self) -> bool {
        self.choices
            .iter()
            .any(|choice| choice.finish_reason.is_some())
    }
}
