//! The end of an upload: rows of which only the first columns are used.

/// Rows of words, `pitch` apart, of which the first `columns` of the first `rows` are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UploadTable {
    /// Words before it.
    pub start: usize,
    /// That are used.
    pub rows: usize,
    /// That are used of each row, at most `pitch`.
    pub columns: usize,
    /// From the beginning of a row to the next.
    pub pitch: usize,
}

#[cfg_attr(not(feature = "cuda"), expect(dead_code))]
impl UploadTable {
    /// No table after so many words.
    pub(crate) fn none_after(words: usize) -> Self {
        Self {
            start: words,
            rows: 0,
            columns: 0,
            pitch: 0,
        }
    }

    /// Behind the last word that is used.
    pub(crate) fn end(&self) -> usize {
        match self.rows {
            0 => self.start,
            rows => self.start + (rows - 1) * self.pitch + self.columns,
        }
    }
}
