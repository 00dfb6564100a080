//! Frames server-sent events from bytes, by the grammar of the HTML standard (9.2.5, 9.2.6).

use std::collections::VecDeque;
use std::mem;

/// An event. Its data are bytes: a character may be split anywhere before.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct SseEvent {
    /// The value of `event`; empty if there is none.
    pub(crate) name: Vec<u8>,
    /// The values of `data`, joined by line feeds.
    pub(crate) data: Vec<u8>,
}

/// A line or an event is too large.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct TooLarge;

/// The most bytes of an event, and of a line.
pub(crate) const MAX_EVENT_BYTES: usize = 8 << 20;

/// Reads a stream piece by piece. An event is complete with its empty line, so that one that the
/// end of the stream cuts off is never seen.
#[derive(Debug, Default)]
pub(crate) struct SseReader {
    /// The bytes of an incomplete line.
    line: Vec<u8>,
    event: SseEvent,
    has_data: bool,
    /// The last byte was a CR, so that an LF belongs to it.
    after_cr: bool,
    is_past_bom: bool,
}

const BOM: &[u8] = b"\xef\xbb\xbf";

impl SseReader {
    /// Adds bytes, and puts the events that they complete into `events`.
    pub(crate) fn push(
        &mut self,
        mut bytes: &[u8],
        events: &mut VecDeque<SseEvent>,
    ) -> Result<(), TooLarge> {
        if self.after_cr && !bytes.is_empty() {
            self.after_cr = false;
            bytes = bytes.strip_prefix(b"\n").unwrap_or(bytes);
        }
        while let Some(end) = bytes.iter().position(|byte| matches!(byte, b'\n' | b'\r')) {
            let (head, rest) = bytes.split_at(end);
            self.extend_line(head)?;
            bytes = &rest[1..];
            if rest[0] == b'\r' {
                match bytes {
                    [] => self.after_cr = true,
                    _ => bytes = bytes.strip_prefix(b"\n").unwrap_or(bytes),
                }
            }
            let line = mem::take(&mut self.line);
            self.end_line(&line, events)?;
        }
        self.extend_line(bytes)
    }

    fn extend_line(&mut self, bytes: &[u8]) -> Result<(), TooLarge> {
        if self.line.len() + bytes.len() > MAX_EVENT_BYTES {
            return Err(TooLarge);
        }
        self.line.extend_from_slice(bytes);
        Ok(())
    }

    fn end_line(&mut self, line: &[u8], events: &mut VecDeque<SseEvent>) -> Result<(), TooLarge> {
        let line = match self.is_past_bom {
            true => line,
            false => line.strip_prefix(BOM).unwrap_or(line),
        };
        self.is_past_bom = true;
        if line.is_empty() {
            let event = mem::take(&mut self.event);
            if mem::take(&mut self.has_data) {
                events.push_back(event);
            }
            return Ok(());
        }
        let (field, value) = match line.iter().position(|byte| *byte == b':') {
            // A comment, which proxies and vendors use as a sign of life.
            Some(0) => return Ok(()),
            Some(colon) => (&line[..colon], &line[colon + 1..]),
            None => (line, &line[..0]),
        };
        let value = value.strip_prefix(b" ").unwrap_or(value);
        match field {
            b"data" => {
                if self.event.data.len() + value.len() + 1 > MAX_EVENT_BYTES {
                    return Err(TooLarge);
                }
                if mem::replace(&mut self.has_data, true) {
                    self.event.data.push(b'\n');
                }
                self.event.data.extend_from_slice(value);
            }
            b"event" => self.event.name = value.to_vec(),
            // `id` and `retry` are for reconnecting; other fields have no meaning.
            _ => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
