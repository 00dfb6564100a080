//! The APIs of the vendors: requests are translated, streams are read.

mod anthropic;
mod google;
mod openai;
mod parameters;
mod turns;

use serde_json::Value;

use self::anthropic::AnthropicStream;
use crate::answer::{Answer, malformed};
use crate::progress::Progress;
use crate::sse::SseEvent;
use crate::translation::Translation;
use crate::{Dialect, OriginalChat, VendorError};

/// Translates a request for `model`. `ceiling` is the configured limit of its answers.
pub(crate) fn translate(
    dialect: Dialect,
    chat: &OriginalChat,
    model: &str,
    ceiling: Option<u64>,
) -> Result<Translation, VendorError> {
    match dialect {
        Dialect::OpenAi => openai::translate(chat, model),
        Dialect::Anthropic => anthropic::translate(chat, model, ceiling),
        Dialect::Google => google::translate(chat, model),
    }
}

/// Reads a stream of one dialect.
pub(crate) enum StreamReader {
    OpenAi,
    Anthropic(AnthropicStream),
    Google,
}

impl StreamReader {
    pub(crate) fn new(dialect: Dialect) -> Self {
        match dialect {
            Dialect::OpenAi => Self::OpenAi,
            Dialect::Anthropic => Self::Anthropic(AnthropicStream::default()),
            Dialect::Google => Self::Google,
        }
    }

    /// Reads an event into the answer.
    pub(crate) fn read(
        &mut self,
        event: &SseEvent,
        answer: &mut Answer,
    ) -> Result<Progress, VendorError> {
        let data = event.data.trim_ascii();
        // A sign of life.
        if data.is_empty() {
            return Ok(Progress::More);
        }
        if matches!(self, Self::OpenAi) && data == b"[DONE]" {
            return Ok(Progress::End);
        }
        let value: Value = serde_json::from_slice(data).map_err(|error| {
            let start = String::from_utf8_lossy(&data[..data.len().min(400)]);
            let start = answer.cleaner.clean(&start);
            malformed(&format!("an event is no JSON ({error}): {start}"))
        })?;
        match self {
            Self::OpenAi => openai::read(&value, answer).map(|()| Progress::More),
            Self::Anthropic(stream) => stream.read(&value, answer),
            Self::Google => google::read(&value, answer).map(|()| Progress::More),
        }
    }

    /// Whether the end of the connection ends the stream properly: Google's has no other end marker
    /// than the `finishReason` of each candidate.
    pub(crate) fn ends_with_connection(&self) -> bool {
        matches!(self, Self::Google)
    }
}

#[cfg(test)]
mod tests;
