//! Parses server-sent events from bytes that arrive in pieces.

/// Collects bytes until an event is complete. Comments, names and ids are ignored, because OpenAI's
/// streams only use data.
#[derive(Debug, Default)]
pub(crate) struct SseParser {
    /// The incomplete line.
    line: Vec<u8>,
    /// Data of the incomplete event.
    data: Option<Vec<u8>>,
    /// The last byte was a carriage return. A line feed after it does not end another line.
    after_return: bool,
}

impl SseParser {
    /// The size of the incomplete event.
    pub(crate) fn pending_bytes(&self) -> usize {
        self.line.len() + self.data.as_ref().map_or(0, Vec::len)
    }

    /// Returns the data of each event that these bytes complete.
    pub(crate) fn push(&mut self, bytes: &[u8]) -> Vec<Vec<u8>> {
        let mut events = Vec::new();
        for &byte in bytes {
            let is_second_half = byte == b'\n' && self.after_return;
            self.after_return = byte == b'\r';
            match byte {
                b'\n' if is_second_half => {}
                b'\n' | b'\r' => events.extend(self.end_line()),
                other => self.line.push(other),
            }
        }
        events
    }

    fn end_line(&mut self) -> Option<Vec<u8>> {
        let line = std::mem::take(&mut self.line);
        if line.is_empty() {
            return self.data.take();
        }
        let value = line.strip_prefix(b"data:")?;
        let value = value.strip_prefix(b" ").unwrap_or(value);
        match &mut self.data {
            Some(data) => {
                data.push(b'\n');
                data.extend_from_slice(value);
            }
            None => self.data = Some(value.to_vec()),
        }
        None
    }
}

#[cfg(test)]
mod tests;
