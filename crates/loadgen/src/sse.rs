//! Parses server-sent events from bytes that arrive in pieces.

/// Collects bytes until an event is complete, as the HTML standard says. Comments and ids are ignored.
#[derive(Debug, Default)]
pub(crate) struct SseParser {
    /// The incomplete line.
    line: Vec<u8>,
    /// Data of the incomplete event.
    data: Option<Vec<u8>>,
    /// Whether the incomplete event is called an error.
    is_error: bool,
    /// A byte-order mark may only begin the first line.
    is_begun: bool,
    /// The last byte was a carriage return. A line feed after it does not end another line.
    after_return: bool,
}

/// An event.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Event {
    pub data: Vec<u8>,
    /// Its name is `error`, or its data came in a field of that name, as llama.cpp's did.
    pub is_error: bool,
}

impl SseParser {
    /// The size of the incomplete event.
    pub(crate) fn pending_bytes(&self) -> usize {
        self.line.len() + self.data.as_ref().map_or(0, Vec::len)
    }

    /// Returns each event that these bytes complete.
    pub(crate) fn push(&mut self, bytes: &[u8]) -> Vec<Event> {
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

    /// The event that the stream ended in, without its last line ends.
    pub(crate) fn rest(mut self) -> Option<Event> {
        if !self.line.is_empty() {
            self.end_line();
        }
        self.end_line()
    }

    fn end_line(&mut self) -> Option<Event> {
        let line = std::mem::take(&mut self.line);
        let mut line = line.as_slice();
        if !std::mem::replace(&mut self.is_begun, true) {
            line = line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line);
        }
        if line.is_empty() {
            let is_error = std::mem::take(&mut self.is_error);
            return self.data.take().map(|data| Event { data, is_error });
        }
        let colon = line.iter().position(|byte| *byte == b':');
        let (name, value) = line.split_at(colon.unwrap_or(line.len()));
        let value = value.strip_prefix(b":").unwrap_or(value);
        let value = value.strip_prefix(b" ").unwrap_or(value);
        match name {
            b"data" => self.add_data(value),
            b"error" => {
                self.is_error = true;
                self.add_data(value);
            }
            b"event" => self.is_error |= value == b"error",
            _ => {}
        }
        None
    }

    fn add_data(&mut self, value: &[u8]) {
        match &mut self.data {
            Some(data) => {
                data.push(b'\n');
                data.extend_from_slice(value);
            }
            None => self.data = Some(value.to_vec()),
        }
    }
}

#[cfg(test)]
mod tests;
