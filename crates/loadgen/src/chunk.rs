//! A chunk of somebody's stream, read as leniently as it is written.

use farthing_economics::read_exact_or_null;
use rust_decimal::Decimal;
use serde::Deserialize;
use serde_json::Value;

/// What of a chat or completion chunk is needed here; also of an answer that is not streamed.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Chunk {
    pub choices: Vec<Choice>,
    pub usage: Option<UsageChunk>,
    /// Some servers tell what goes wrong amid a stream in an event.
    pub error: Option<Value>,
}

/// One of the choices.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Choice {
    /// Of a chat.
    pub delta: Option<Delta>,
    /// Of a completion.
    pub text: Option<String>,
    pub finish_reason: Option<String>,
}

/// What is added to a message. Thoughts are tokens as well.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Delta {
    pub content: Option<String>,
    pub reasoning: Option<String>,
    pub reasoning_content: Option<String>,
}

/// What the server counted.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct UsageChunk {
    pub prompt_tokens: u64,
    pub completion_tokens: u64,
    pub prompt_tokens_details: Option<PromptDetails>,
    /// Farthing's own.
    pub cost: Option<CostChunk>,
}

/// Of the prompt's tokens.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct PromptDetails {
    pub cached_tokens: Option<u64>,
}

/// What an answer took, as Farthing meters it.
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
