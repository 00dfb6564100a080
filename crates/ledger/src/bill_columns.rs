//! Bills in rows of queries.

use crate::LedgerError;
use crate::bill::Bill;
use crate::store::Row;

/// Reads a bill, or a sum of bills, from two columns that are not null.
pub(crate) fn read_bill(row: &dyn Row, column: usize) -> Result<Bill, LedgerError> {
    Ok(Bill {
        nanos: row.integer(column)?,
        attos: row.integer(column + 1)?,
    })
}
