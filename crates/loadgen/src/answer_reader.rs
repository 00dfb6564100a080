//! Assembles an answer from the pieces of a stream and their times.

use crate::chunk::{Chunk, CostChunk, CountError, UsageChunk};
use crate::record::{Answer, AnswerUsage, FailureKind};
use crate::sse::{Event, SseParser};

/// Reads one stream. It has no clock; the caller passes the time of each piece.
#[derive(Debug, Default)]
pub(crate) struct AnswerReader {
    events: SseParser,
    text_at: Vec<f64>,
    ended_at: f64,
    taken_at: f64,
    usage: Counts,
    /// A finish reason came.
    is_ended: bool,
    /// Text came after it, so that this server's finish reasons end nothing.
    is_continued: bool,
    is_done: bool,
}

/// A server that never ends an event must not fill the memory.
const MAX_EVENT_BYTES: usize = 16 << 20;

/// What is wrong with a stream.
pub(crate) type Fault = (FailureKind, String);

/// The last known value of each count. A later chunk without one takes nothing back.
#[derive(Debug, Default)]
struct Counts {
    prompt_tokens: Option<u64>,
    cached_tokens: Option<u64>,
    completion_tokens: Option<u64>,
    cost: CostChunk,
}

impl AnswerReader {
    /// Adds bytes that arrived at `at` (seconds), and returns how many pieces of text they
    /// contained.
    pub(crate) fn take(&mut self, at: f64, bytes: &[u8]) -> Result<usize, Fault> {
        let pieces_before = self.text_at.len();
        self.taken_at = at;
        for event in self.events.push(bytes) {
            self.take_event(at, &event)?;
        }
        if self.events.pending_bytes() > MAX_EVENT_BYTES {
            let message = format!("an event has more than {MAX_EVENT_BYTES} bytes");
            return Err((FailureKind::NotAStream, message));
        }
        Ok(self.text_at.len() - pieces_before)
    }

    /// Whether the server has said that nothing follows.
    pub(crate) fn is_done(&self) -> bool {
        self.is_done
    }

    fn take_event(&mut self, at: f64, event: &Event) -> Result<(), Fault> {
        let data = event.data.trim_ascii();
        if event.is_error {
            let data = excerpt(&String::from_utf8_lossy(data));
            return Err((FailureKind::ErrorEvent, data));
        }
        if data == b"[DONE]" {
            self.is_done = true;
        }
        // Some proxies keep a connection alive with empty data.
        if data.is_empty() || self.is_done {
            return Ok(());
        }
        let chunk = Chunk::parse(data).map_err(|error| {
            let data = excerpt(&String::from_utf8_lossy(data));
            let message = format!("an event is not a chunk of an answer ({error}): {data}");
            (FailureKind::NotAStream, message)
        })?;
        if chunk.is_error() {
            let data = excerpt(&String::from_utf8_lossy(data));
            return Err((FailureKind::ErrorEvent, data));
        }
        self.take_chunk(at, &chunk)
    }

    fn take_chunk(&mut self, at: f64, chunk: &Chunk) -> Result<(), Fault> {
        if chunk.has_text() {
            self.is_continued |= self.is_ended;
            self.text_at.push(at);
            self.ended_at = at;
        }
        if let Some(reason) = chunk.finish_reason() {
            // The server gave up: vLLM, SGLang and OpenRouter end such answers this way.
            if ["abort", "error"].contains(&reason.as_str()) {
                let message = format!("the answer ended with the finish reason `{reason}`");
                return Err((FailureKind::ErrorEvent, message));
            }
            self.is_ended = true;
            self.ended_at = at;
        }
        if let Some(usage) = chunk.usage() {
            self.usage
                .take(usage)
                .map_err(|error| (FailureKind::BadUsage, error.to_string()))?;
        }
        Ok(())
    }

    /// Ends the stream and returns the answer.
    pub(crate) fn finish(mut self) -> Result<Answer, Fault> {
        // Some servers leave out the last line end. An event that was cut is not read.
        if let Some(event) = std::mem::take(&mut self.events).rest() {
            let data = event.data.trim_ascii();
            if event.is_error || data == b"[DONE]" || Chunk::parse(data).is_ok() {
                self.take_event(self.taken_at, &event)?;
            }
        }
        let pieces = self.text_at.len();
        if !self.is_done && (!self.is_ended || self.is_continued) {
            let message =
                format!("the stream ended after {pieces} pieces of text, without a final event");
            return Err((FailureKind::CutOff, message));
        }
        if self.text_at.is_empty() {
            let message = "the answer has neither text, thoughts nor calls of tools".to_owned();
            return Err((FailureKind::NoText, message));
        }
        Ok(Answer {
            text_at: self.text_at,
            ended_at: self.ended_at,
            usage: self.usage.usage()?,
        })
    }
}

impl Counts {
    fn take(&mut self, usage: &UsageChunk) -> Result<(), CountError> {
        self.prompt_tokens = usage.prompt_tokens()?.or(self.prompt_tokens);
        self.cached_tokens = usage.cached_tokens()?.or(self.cached_tokens);
        self.completion_tokens = usage.completion_tokens()?.or(self.completion_tokens);
        if let Some(cost) = usage.cost {
            self.cost = cost;
        }
        Ok(())
    }

    fn usage(self) -> Result<Option<AnswerUsage>, Fault> {
        let Some(completion_tokens) = self.completion_tokens else {
            return Ok(None);
        };
        if let (Some(prompt), Some(cached)) = (self.prompt_tokens, self.cached_tokens)
            && cached > prompt
        {
            let message = format!("usage has {cached} cached tokens in a prompt of {prompt}");
            return Err((FailureKind::BadUsage, message));
        }
        Ok(Some(AnswerUsage {
            prompt_tokens: self.prompt_tokens,
            // Without the whole, the part says nothing.
            cached_tokens: self.prompt_tokens.and(self.cached_tokens),
            completion_tokens,
            device_seconds: self.cost.device_seconds,
            usd: self.cost.usd,
        }))
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
