//! Export of the rows to a file.

mod column;
mod csv;
mod parquet;

use std::io::Write;
use std::str::FromStr;

use crate::store::{Row, Store};
use crate::{LedgerError, Window};

use self::column::COLUMNS;
use self::csv::CsvExport;
use self::parquet::ParquetExport;

/// The format of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExportFormat {
    /// Comma-separated values with a header (RFC 4180).
    Csv,
    /// Apache Parquet.
    Parquet,
}

impl FromStr for ExportFormat {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "csv" => Ok(Self::Csv),
            "parquet" => Ok(Self::Parquet),
            _ => Err("write csv or parquet".to_owned()),
        }
    }
}

/// A writer of one format.
trait Export {
    fn row(&mut self, row: &dyn Row) -> Result<(), LedgerError>;
    fn finish(self: Box<Self>) -> Result<(), LedgerError>;
}

pub(crate) fn write<'a>(
    store: &mut dyn Store,
    window: Window,
    format: ExportFormat,
    out: impl Write + Send + 'a,
) -> Result<u64, LedgerError> {
    let mut export: Box<dyn Export + 'a> = match format {
        ExportFormat::Csv => Box::new(CsvExport::begin(out)?),
        ExportFormat::Parquet => Box::new(ParquetExport::begin(out)?),
    };
    let columns = COLUMNS.map(|column| column.sql).join(", ");
    let sql = format!(
        "SELECT {columns} FROM attempts JOIN runs ON runs.id = attempts.run \
         WHERE ended_us >= {} AND ended_us < {} ORDER BY ended_us, run, seq",
        window.start_us(),
        window.end_us()
    );
    let mut rows = 0;
    store.query(&sql, &[], &mut |row| {
        rows += 1;
        export.row(row)
    })?;
    export.finish()?;
    Ok(rows)
}
