//! Opens a ledger for reading only, also where nothing can be written: on a read-only mount, or in
//! a directory of someone else.

use std::ffi::OsString;
use std::fs;
use std::path::Path;

use rusqlite::{Connection, ErrorCode, OpenFlags};

use super::file_identity::beside;
use super::owner::is_ledger_or_new;

/// A database with write-ahead logging has an index in shared memory beside it, which even a reader
/// creates and locks. If that fails, the file is opened without locks, because nobody else can
/// write there either.
pub(super) fn open(path: &Path) -> rusqlite::Result<Connection> {
    match checked(Connection::open_with_flags(path, FLAGS)) {
        Err(error) if is_refused_write(&error) => open_without_locks(path),
        opened => opened,
    }
}

const FLAGS: OpenFlags = OpenFlags::SQLITE_OPEN_READ_ONLY.union(OpenFlags::SQLITE_OPEN_NO_MUTEX);

fn open_without_locks(path: &Path) -> rusqlite::Result<Connection> {
    let log = fs::metadata(beside(path, "-wal"));
    if log.is_ok_and(|log| log.len() > 0) {
        // The log has rows that are not in the file yet. With exclusive access its index is in the
        // memory of this process.
        let connection = Connection::open_with_flags_and_vfs(path, FLAGS, "unix-none")?;
        connection.pragma_update(None, "locking_mode", "EXCLUSIVE")?;
        checked(Ok(connection))
    } else {
        let flags = FLAGS | OpenFlags::SQLITE_OPEN_URI;
        checked(Connection::open_with_flags(immutable_uri(path), flags))
    }
}

/// Reads once, because opening alone does not.
fn checked(connection: rusqlite::Result<Connection>) -> rusqlite::Result<Connection> {
    let connection = connection?;
    is_ledger_or_new(&connection)?;
    Ok(connection)
}

fn is_refused_write(error: &rusqlite::Error) -> bool {
    matches!(
        error.sqlite_error_code(),
        Some(ErrorCode::ReadOnly | ErrorCode::CannotOpen)
    )
}

/// `file:PATH?immutable=1`: SQLite reads such a file without looking for changes.
fn immutable_uri(path: &Path) -> OsString {
    let escaped: String = path
        .as_os_str()
        .as_encoded_bytes()
        .iter()
        .map(|&byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'.' | b'-' | b'_' => {
                char::from(byte).to_string()
            }
            _ => format!("%{byte:02X}"),
        })
        .collect();
    format!("file:{escaped}?immutable=1").into()
}

#[cfg(test)]
mod tests;
