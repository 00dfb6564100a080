//! The end of an upload: rows of which only the first columns are sent.

/// Rows of words, `pitch` apart. The first `columns` of the first `rows` are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UploadTable {
    /// Words before the table.
    pub start: usize,
    /// Rows to send.
    pub rows: usize,
    /// Columns to send of each row, at most `pitch`.
    pub columns: usize,
    /// Words from one row to the next.
    pub pitch: usize,
}

#[cfg_attr(not(feature = "cuda"), expect(dead_code))]
impl UploadTable {
    /// No table, at the end of `words` words.
    pub(crate) fn none_after(words: usize) -> Self {
        Self {
            start: words,
            rows: 0,
            columns: 0,
            pitch: 0,
        }
    }

    /// The end of the last sent word.
    pub(crate) fn end(&self) -> usize {
        match self.rows {
            0 => self.start,
            rows => self.start + (rows - 1) * self.pitch + self.columns,
        }
    }
}
