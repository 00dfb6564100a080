//! The two ways to read a ledger without writing anything.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::PathBuf;

use rusqlite::Connection;

use super::{beside, open_without_locks};

/// A database with one row in the file and one in the log, as a backup has it that was copied while
/// a server ran. Special characters of URIs are in its name.
fn backup(directory: &tempfile::TempDir, with_log: bool) -> PathBuf {
    let live = directory.path().join("live.sqlite3");
    let connection = Connection::open(&live).unwrap();
    connection
        .pragma_update(None, "journal_mode", "WAL")
        .unwrap();
    connection
        .execute_batch(
            "CREATE TABLE rows (number INTEGER); INSERT INTO rows VALUES (1); \
             PRAGMA wal_checkpoint(TRUNCATE); INSERT INTO rows VALUES (2)",
        )
        .unwrap();
    let copy = directory.path().join("a b?c=1#d%20é.sqlite3");
    if with_log {
        fs::copy(beside(&live, "-wal"), beside(&copy, "-wal")).unwrap();
        fs::copy(&live, &copy).unwrap();
    } else {
        drop(connection);
        fs::copy(&live, &copy).unwrap();
    }
    copy
}

#[test]
fn all_rows_are_read_with_a_log_and_without() {
    for with_log in [true, false] {
        let directory = tempfile::tempdir().unwrap();
        let copy = backup(&directory, with_log);
        let names = || {
            let files = fs::read_dir(directory.path()).unwrap();
            let mut names: Vec<_> = files.map(|file| file.unwrap().file_name()).collect();
            names.sort();
            names
        };
        let before = names();
        let connection = open_without_locks(&copy).unwrap();
        let sum = "SELECT sum(number) FROM rows";
        let sum: i64 = connection.query_row(sum, (), |row| row.get(0)).unwrap();
        assert_eq!(sum, 3, "with_log: {with_log}");
        drop(connection);
        assert_eq!(names(), before, "with_log: {with_log}");
    }
}
