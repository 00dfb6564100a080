//! Whose file it is.

use rusqlite::Connection;

use super::BUSY_TIMEOUT;

/// "FRTH": identifies a ledger among SQLite files.
pub(super) const APPLICATION_ID: i64 = 0x4652_5448;

pub(super) fn is_ledger_or_new(connection: &Connection) -> rusqlite::Result<bool> {
    connection.busy_timeout(BUSY_TIMEOUT)?;
    let is_empty = "SELECT count(*) = 0 FROM sqlite_schema";
    let is_empty = connection.query_row(is_empty, (), |row| row.get(0))?;
    Ok(is_empty || pragma(connection, "application_id")? == APPLICATION_ID)
}

pub(super) fn pragma(connection: &Connection, name: &str) -> rusqlite::Result<i64> {
    connection.pragma_query_value(None, name, |row| row.get(0))
}
