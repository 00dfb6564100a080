//! CSV export.
//!
//! Spreadsheets execute cells that begin like a formula, and callers choose texts such as `user`. So
//! texts are escaped, reversibly: a `'` is put before a character of [`RISKY`] at the beginning of a
//! text and after a character of [`BOUNDARIES`], where a spreadsheet of another locale begins a cell.
//! A reader removes each `'` at these places. Numbers and times are written as they are.

use std::io::Write;

use chrono::{DateTime, SecondsFormat, Utc};

use super::Export;
use super::column::{COLUMNS, Kind, bill_usd};
use crate::store::Row;
use crate::{LedgerError, Picoseconds};

pub(super) struct CsvExport<W: Write> {
    writer: csv::Writer<W>,
}

impl<W: Write> CsvExport<W> {
    pub(super) fn begin(out: W) -> Result<Self, LedgerError> {
        let mut writer = csv::Writer::from_writer(out);
        writer.write_record(COLUMNS.map(|column| column.name))?;
        Ok(Self { writer })
    }
}

impl<W: Write> Export for CsvExport<W> {
    fn row(&mut self, row: &dyn Row) -> Result<(), LedgerError> {
        for (index, column) in COLUMNS.iter().enumerate() {
            self.writer.write_field(text(row, index, column.kind)?)?;
        }
        Ok(self.writer.write_record(None::<&[u8]>)?)
    }

    fn finish(mut self: Box<Self>) -> Result<(), LedgerError> {
        Ok(self.writer.flush()?)
    }
}

/// What a formula begins with, in full width too, and the `'` that marks an escape.
const RISKY: &[char] = &[
    '=', '+', '-', '@', '\t', '\r', '\n', '＝', '＋', '－', '＠', '\'',
];

/// What ends a cell for some spreadsheet.
const BOUNDARIES: &[char] = &[',', ';', '"', '\t', '\r', '\n'];

fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len() + 1);
    let mut is_start = true;
    for character in text.chars() {
        if is_start && RISKY.contains(&character) {
            escaped.push('\'');
        }
        escaped.push(character);
        is_start = BOUNDARIES.contains(&character);
    }
    escaped
}

/// A value as CSV. Null is empty.
fn text(row: &dyn Row, index: usize, kind: Kind) -> Result<String, LedgerError> {
    Ok(match kind {
        Kind::Text | Kind::OptionalText => escaped(&row.text(index)?.unwrap_or_default()),
        Kind::Dollars => row.text(index)?.unwrap_or_default(),
        Kind::Bill => bill_usd(row, index)?.map_or_else(String::new, |usd| usd.to_string()),
        Kind::Integer => row.integer(index)?.to_string(),
        Kind::Real => row
            .real(index)?
            .map_or_else(String::new, |real| real.to_string()),
        Kind::Moment => {
            let moment = row.integer(index)?;
            let moment = DateTime::<Utc>::from_timestamp_micros(moment)
                .ok_or_else(|| LedgerError::Corrupt(format!("the moment {moment}")))?;
            moment.to_rfc3339_opts(SecondsFormat::Micros, true)
        }
        Kind::Picoseconds => {
            let time = Picoseconds::new(row.integer(index)?.into());
            time.seconds().normalize().to_string()
        }
    })
}

#[cfg(test)]
mod tests;
