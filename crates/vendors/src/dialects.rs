//! The APIs of the vendors: requests are translated, streams are read.

mod openai;

use serde_json::Value;

use crate::answer::{Answer, malformed};
use crate::sse::SseEvent;
use crate::translation::Translation;
use crate::{Dialect, OriginalChat, VendorError};

/// Whether more of a stream is expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    More,
    /// The end marker was read.
    End,
}

/// Translates a request for `model`. `ceiling` is the configured limit of its answers.
pub(crate) fn translate(
    dialect: Dialect,
    chat: &OriginalChat,
    model: &str,
    ceiling: Option<u64>,
) -> Result<Translation, VendorError> {
    match dialect {
        Dialect::OpenAi => openai::translate(chat, model),
        Dialect::Anthropic | Dialect::Google => {
            let _ = ceiling;
            Err(crate::translation::untranslatable(
                "model",
                "this dialect is not supported yet",
            ))
        }
    }
}

/// Reads a stream of one dialect.
pub(crate) enum StreamReader {
    OpenAi,
}

impl StreamReader {
    pub(crate) fn new(dialect: Dialect) -> Self {
        match dialect {
            Dialect::OpenAi => Self::OpenAi,
            Dialect::Anthropic | Dialect::Google => Self::OpenAi,
        }
    }

    /// Reads an event into the answer.
    pub(crate) fn read(
        &mut self,
        event: &SseEvent,
        answer: &mut Answer,
    ) -> Result<Progress, VendorError> {
        // A sign of life.
        if event.data.trim_ascii().is_empty() {
            return Ok(Progress::More);
        }
        if matches!(self, Self::OpenAi) && event.data.trim_ascii() == b"[DONE]" {
            return Ok(Progress::End);
        }
        let value: Value = serde_json::from_slice(&event.data).map_err(|error| {
            let start = String::from_utf8_lossy(&event.data[..event.data.len().min(400)]);
            let start = answer.cleaner.clean(&start);
            malformed(&format!("an event is no JSON ({error}): {start}"))
        })?;
        match self {
            Self::OpenAi => openai::read(&value, answer),
        }
    }

    /// Whether the end of the connection ends the stream properly.
    pub(crate) fn ends_with_connection(&self) -> bool {
        false
    }
}
