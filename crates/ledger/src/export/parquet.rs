//! Parquet export, column by column.

use std::io::Write;
use std::sync::Arc;

use parquet::basic::Compression;
use parquet::data_type::{
    ByteArray, ByteArrayType, DataType, DoubleType, FixedLenByteArray, FixedLenByteArrayType,
    Int64Type,
};
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};
use parquet::schema::parser::parse_message_type;
use rust_decimal::Decimal;

use super::Export;
use super::column::{COLUMNS, Kind, bill_usd};
use crate::LedgerError;
use crate::store::Row;

pub(super) struct ParquetExport<W: Write + Send> {
    writer: SerializedFileWriter<W>,
    columns: Vec<Cells>,
    /// Number of rows in the columns that are not in the file yet.
    rows: usize,
}

/// The values of a column, and for each row whether it has one.
struct Cells {
    values: Values,
    are_present: Vec<i16>,
}

enum Values {
    Texts(Vec<ByteArray>),
    Integers(Vec<i64>),
    Reals(Vec<f64>),
    Decimals(Vec<FixedLenByteArray>),
}

/// A row group of some tens of megabytes.
const ROWS_IN_A_GROUP: usize = 65_536;

/// Decimal places of an amount of money. They are enough for the cost of a picosecond.
const DOLLAR_SCALE: u32 = 20;

impl<W: Write + Send> ParquetExport<W> {
    pub(super) fn begin(out: W) -> Result<Self, LedgerError> {
        let schema = Arc::new(parse_message_type(&message_type())?);
        let properties = WriterProperties::builder().set_compression(Compression::SNAPPY);
        let writer = SerializedFileWriter::new(out, schema, Arc::new(properties.build()))?;
        Ok(Self {
            writer,
            columns: COLUMNS.map(|column| Cells::new(column.kind)).into(),
            rows: 0,
        })
    }

    fn write_group(&mut self) -> Result<(), ParquetError> {
        let mut group = self.writer.next_row_group()?;
        for column in &mut self.columns {
            column.write(&mut group)?;
        }
        group.close()?;
        self.rows = 0;
        Ok(())
    }
}

impl<W: Write + Send> Export for ParquetExport<W> {
    fn row(&mut self, row: &dyn Row) -> Result<(), LedgerError> {
        for (index, (column, cells)) in COLUMNS.iter().zip(&mut self.columns).enumerate() {
            cells.push(row, index, column.kind)?;
        }
        self.rows += 1;
        if self.rows == ROWS_IN_A_GROUP {
            self.write_group()?;
        }
        Ok(())
    }

    fn finish(mut self: Box<Self>) -> Result<(), LedgerError> {
        if self.rows > 0 {
            self.write_group()?;
        }
        self.writer.finish()?;
        Ok(())
    }
}

fn message_type() -> String {
    let field = |column: &super::column::Column| {
        let name = column.name;
        match column.kind {
            Kind::Text => format!("REQUIRED BYTE_ARRAY {name} (STRING);"),
            Kind::OptionalText => format!("OPTIONAL BYTE_ARRAY {name} (STRING);"),
            Kind::Integer => format!("REQUIRED INT64 {name};"),
            Kind::Real => format!("OPTIONAL DOUBLE {name};"),
            Kind::Moment => format!("REQUIRED INT64 {name} (TIMESTAMP(MICROS,true));"),
            Kind::Picoseconds => format!("REQUIRED INT64 {name} (DECIMAL(18,12));"),
            Kind::Dollars | Kind::Bill => {
                format!("OPTIONAL FIXED_LEN_BYTE_ARRAY (16) {name} (DECIMAL(38,{DOLLAR_SCALE}));")
            }
        }
    };
    let fields: Vec<_> = COLUMNS.iter().map(field).collect();
    format!("message attempt {{ {} }}", fields.join(" "))
}

impl Cells {
    fn new(kind: Kind) -> Self {
        let values = match kind {
            Kind::Text | Kind::OptionalText => Values::Texts(Vec::new()),
            Kind::Integer | Kind::Moment | Kind::Picoseconds => Values::Integers(Vec::new()),
            Kind::Real => Values::Reals(Vec::new()),
            Kind::Dollars | Kind::Bill => Values::Decimals(Vec::new()),
        };
        Self {
            values,
            are_present: Vec::new(),
        }
    }

    fn push(&mut self, row: &dyn Row, index: usize, kind: Kind) -> Result<(), LedgerError> {
        let is_present = match &mut self.values {
            Values::Texts(values) => {
                push(values, row.text(index)?.map(|text| text.as_str().into()))
            }
            Values::Integers(values) => push(values, Some(row.integer(index)?)),
            Values::Reals(values) => push(values, row.real(index)?),
            Values::Decimals(values) if kind == Kind::Bill => {
                push(values, bill_usd(row, index)?.map(fixed).transpose()?)
            }
            Values::Decimals(values) => push(values, row.text(index)?.map(decimal).transpose()?),
        };
        if !is_present && matches!(kind, Kind::Text) {
            return Err(LedgerError::Corrupt(
                "a row with a missing value".to_owned(),
            ));
        }
        self.are_present.push(is_present.into());
        Ok(())
    }

    fn write<W: Write + Send>(
        &mut self,
        group: &mut SerializedRowGroupWriter<'_, W>,
    ) -> Result<(), ParquetError> {
        let levels = std::mem::take(&mut self.are_present);
        match &mut self.values {
            Values::Texts(values) => write::<ByteArrayType, W>(group, values, &levels),
            Values::Integers(values) => write::<Int64Type, W>(group, values, &levels),
            Values::Reals(values) => write::<DoubleType, W>(group, values, &levels),
            Values::Decimals(values) => write::<FixedLenByteArrayType, W>(group, values, &levels),
        }
    }
}

fn push<T>(values: &mut Vec<T>, value: Option<T>) -> bool {
    let is_present = value.is_some();
    values.extend(value);
    is_present
}

/// If every row has a value, the levels are not written.
fn write<T: DataType, W: Write + Send>(
    group: &mut SerializedRowGroupWriter<'_, W>,
    values: &mut Vec<T::T>,
    levels: &[i16],
) -> Result<(), ParquetError> {
    let column = group.next_column()?;
    let mut column = column.ok_or_else(|| ParquetError::General("too few columns".to_owned()))?;
    column
        .typed::<T>()
        .write_batch(values, Some(levels), None)?;
    values.clear();
    column.close()
}

/// An amount that is stored as text.
fn decimal(text: String) -> Result<FixedLenByteArray, LedgerError> {
    let amount = text.parse();
    fixed(amount.map_err(|_| LedgerError::Corrupt(format!("the amount {text:?}")))?)
}

/// An amount in units of 10⁻²⁰ dollars, as 16 bytes, big-endian, two's complement.
fn fixed(amount: Decimal) -> Result<FixedLenByteArray, LedgerError> {
    let corrupt = || LedgerError::Corrupt(format!("the amount {amount}"));
    let amount = amount.round_dp(DOLLAR_SCALE).normalize();
    let factor = 10_i128.pow(DOLLAR_SCALE - amount.scale());
    let scaled = amount.mantissa().checked_mul(factor).ok_or_else(corrupt)?;
    Ok(ByteArray::from(scaled.to_be_bytes().to_vec()).into())
}
