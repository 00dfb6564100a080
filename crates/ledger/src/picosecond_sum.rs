//! Sums of picoseconds in SQL.

use crate::store::Row;
use crate::{LedgerError, Picoseconds};

const MILLISECOND: i128 = 1_000_000_000;

/// SQL for the sum of a column of picoseconds in two columns: whole milliseconds, and the remaining
/// picoseconds. Both fit 64 bits; the total would not (a month of four devices).
pub(crate) fn sum_sql(column: &str) -> String {
    format!(
        "CAST(SUM({column} / {MILLISECOND}) AS BIGINT), CAST(SUM({column} % {MILLISECOND}) AS BIGINT)"
    )
}

/// Reads a sum from two columns, as selected by [`sum_sql`].
pub(crate) fn read_sum(row: &dyn Row, column: usize) -> Result<Picoseconds, LedgerError> {
    let (high, low) = (row.integer(column)?, row.integer(column + 1)?);
    Ok(Picoseconds::new(
        i128::from(high) * MILLISECOND + i128::from(low),
    ))
}
