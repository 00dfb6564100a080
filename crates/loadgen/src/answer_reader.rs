//! Assembles an answer from the pieces of a stream and their times.

use crate::chunk::Chunk;
use crate::record::{Answer, AnswerUsage, FailureKind};
use crate::sse::SseParser;

/// Reads one stream. It has no clock; the caller passes the time of each piece.
#[derive(Debug, Default)]
pub(crate) struct AnswerReader {
    events: SseParser,
    text_at: Vec<f64>,
    ended_at: f64,
    usage: Option<AnswerUsage>,
    is_ended: bool,
    is_done: bool,
}

/// A server that never ends an event must not fill the memory.
const MAX_EVENT_BYTES: usize = 16 << 20;

/// What is wrong with a stream.
pub(crate) type Fault = (FailureKind, String);

impl AnswerReader {
    /// Adds bytes that arrived at `at` (seconds), and returns how many pieces of text they
    /// contained.
    pub(crate) fn take(&mut self, at: f64, bytes: &[u8]) -> Result<usize, Fault> {
        let pieces_before = self.text_at.len();
        for data in self.events.push(bytes) {
            if data == b"[DONE]" {
                self.is_done = true;
                continue;
            }
            let chunk: Chunk = serde_json::from_slice(&data).map_err(|error| {
                let data = excerpt(&String::from_utf8_lossy(&data));
                let message = format!("an event is not a chunk of an answer ({error}): {data}");
                (FailureKind::NotAStream, message)
            })?;
            if let Some(error) = chunk.error.as_ref().filter(|error| !error.is_null()) {
                return Err((FailureKind::ErrorEvent, excerpt(&error.to_string())));
            }
            self.take_chunk(at, &chunk);
        }
        if self.events.pending_bytes() > MAX_EVENT_BYTES {
            let message = format!("an event has more than {MAX_EVENT_BYTES} bytes");
            return Err((FailureKind::NotAStream, message));
        }
        Ok(self.text_at.len() - pieces_before)
    }

    fn take_chunk(&mut self, at: f64, chunk: &Chunk) {
        if chunk.has_text() {
            self.text_at.push(at);
            self.ended_at = at;
        }
        if chunk.has_end() {
            self.is_ended = true;
            self.ended_at = at;
        }
        if let Some(usage) = chunk.usage {
            self.usage = Some(AnswerUsage {
                prompt_tokens: usage.prompt_tokens,
                cached_tokens: usage.prompt_tokens_details.and_then(|it| it.cached_tokens),
                completion_tokens: usage.completion_tokens,
                device_seconds: usage.cost.and_then(|cost| cost.device_seconds),
                usd: usage.cost.and_then(|cost| cost.usd),
            });
        }
    }

    /// Ends the stream and returns the answer.
    pub(crate) fn finish(self) -> Result<Answer, Fault> {
        if !self.is_done && !self.is_ended {
            let pieces = self.text_at.len();
            let message =
                format!("the stream ended after {pieces} pieces of text, without a final event");
            return Err((FailureKind::CutOff, message));
        }
        if self.text_at.is_empty() {
            let message = "the answer has no text".to_owned();
            return Err((FailureKind::NoText, message));
        }
        Ok(Answer {
            text_at: self.text_at,
            ended_at: self.ended_at,
            // Some servers send counts of 0; they are ignored.
            usage: self.usage.filter(|usage| usage.completion_tokens > 0),
        })
    }
}

/// The beginning of a text, for messages.
pub(crate) fn excerpt(text: &str) -> String {
    const CHARS: usize = 200;
    let text = text.trim();
    match text.char_indices().nth(CHARS) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests;
