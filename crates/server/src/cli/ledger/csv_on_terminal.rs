//! CSV on a terminal.

use std::io::{self, Write};

use crate::visible::visible;

/// Writes CSV so that no cell commands the terminal or looks like another row. In a file or a pipe, cells
/// are as callers sent them.
pub(super) struct CsvOnTerminal<W: Write> {
    terminal: W,
    row: Vec<u8>,
    is_quoted: bool,
}

impl<W: Write> CsvOnTerminal<W> {
    pub(super) fn new(terminal: W) -> Self {
        Self {
            terminal,
            row: Vec::new(),
            is_quoted: false,
        }
    }
}

impl<W: Write> Write for CsvOnTerminal<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        for &byte in bytes {
            // A quote within a cell is doubled, so that the cell goes on.
            self.is_quoted ^= byte == b'"';
            if byte == b'\n' && !self.is_quoted {
                let row = std::mem::take(&mut self.row);
                writeln!(self.terminal, "{}", visible(&String::from_utf8_lossy(&row)))?;
            } else {
                self.row.push(byte);
            }
        }
        Ok(bytes.len())
    }

    /// A row that has not ended waits.
    fn flush(&mut self) -> io::Result<()> {
        self.terminal.flush()
    }
}

#[cfg(test)]
mod tests;
