//! SQLite files that are moved, deleted, replaced or damaged while a server writes to them.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use farthing_ledger::{ExportFormat, Ledger, LedgerError, LedgerReader, Location, Window};

use crate::samples::{Clock, close, entry, open, record};

struct Place {
    directory: tempfile::TempDir,
    path: PathBuf,
    ledger: Ledger,
}

impl Place {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("ledger.sqlite3");
        let ledger = open(path.to_str().unwrap(), &Clock::default());
        Self {
            directory,
            path,
            ledger,
        }
    }

    fn path_of(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn record(&self, rows: usize) {
        (0..rows).for_each(|row| record(&self.ledger, entry(row as f64)));
    }

    /// Records rows and waits until `total` are written.
    fn write(&self, rows: usize, total: u64) {
        self.record(rows);
        while self.ledger.status().written < total {
            std::thread::yield_now();
        }
        assert_eq!(self.ledger.status().error, None);
    }

    /// Waits until a flush fails and returns its error.
    fn error(&self) -> String {
        loop {
            if let Some(error) = self.ledger.status().error {
                return error;
            }
            std::thread::yield_now();
        }
    }
}

fn rows(path: &Path) -> u64 {
    let location = Location::Sqlite(path.to_owned());
    let mut out = Vec::new();
    LedgerReader::open(&location)
        .unwrap()
        .export(Window::ALL, ExportFormat::Csv, &mut out)
        .unwrap()
}

fn log_of(path: &Path) -> PathBuf {
    let mut log = path.as_os_str().to_owned();
    log.push("-wal");
    log.into()
}

/// Puts a file in the place of the ledger, as if it had been there for a while.
fn put(from: &Path, to: &Path) {
    let file = fs::File::options().write(true).open(from).unwrap();
    file.set_modified(SystemTime::now() - Duration::from_secs(60))
        .unwrap();
    drop(file);
    fs::rename(from, to).unwrap();
}

#[test]
fn rows_wait_for_a_file_that_was_moved_away() {
    let place = Place::new();
    place.write(3, 3);
    let away = place.path_of("away.sqlite3");
    fs::rename(&place.path, &away).unwrap();
    place.record(2);
    let error = place.error();
    assert!(error.contains("is gone: put it back"), "{error}");
    // What was written is all in the file that was moved, without its log.
    assert_eq!(rows(&away), 3);
    assert!(!place.path.exists());

    for suffix in ["-wal", "-shm"] {
        let mut name = away.as_os_str().to_owned();
        name.push(suffix);
        let _ = fs::remove_file(name);
    }
    fs::rename(&away, &place.path).unwrap();
    place.write(1, 6);
    close(&place.ledger);
    assert_eq!(rows(&place.path), 6);
}

#[test]
fn a_backup_in_its_place_is_continued() {
    let place = Place::new();
    place.write(3, 3);
    let backup = place.path_of("backup.sqlite3");
    rusqlite::Connection::open(&place.path)
        .unwrap()
        .execute("VACUUM INTO $1", [backup.to_str().unwrap()])
        .unwrap();
    place.write(2, 5);
    put(&backup, &place.path);
    place.record(4);
    place.write(0, 9);
    close(&place.ledger);
    // The two rows between the backup and its return are in the file that was replaced.
    assert_eq!(rows(&place.path), 7);
    let runs: i64 = rusqlite::Connection::open(&place.path)
        .unwrap()
        .query_row("SELECT count(*) FROM runs", (), |row| row.get(0))
        .unwrap();
    assert_eq!(runs, 1);
}

#[test]
fn another_ledger_in_its_place_gets_a_run_of_its_own() {
    let place = Place::new();
    place.write(3, 3);
    let other = place.path_of("other.sqlite3");
    Ledger::check(&Location::Sqlite(other.clone())).unwrap();
    put(&other, &place.path);
    place.record(2);
    place.write(0, 5);
    close(&place.ledger);
    assert_eq!(rows(&place.path), 2);
}

#[test]
fn what_is_no_ledger_is_not_written() {
    let place = Place::new();
    place.write(3, 3);
    let notes = place.path_of("notes.sqlite3");
    rusqlite::Connection::open(&notes)
        .unwrap()
        .execute_batch("CREATE TABLE notes (note TEXT)")
        .unwrap();
    let content = fs::read(&notes).unwrap();
    put(&notes, &place.path);
    place.record(1);
    let error = place.error();
    assert!(error.contains("another program's"), "{error}");
    assert_eq!(fs::read(&place.path).unwrap(), content);

    fs::write(&notes, "").unwrap();
    put(&notes, &place.path);
    while !place.error().contains("an empty file is in its place") {
        std::thread::yield_now();
    }
    assert_eq!(fs::metadata(&place.path).unwrap().len(), 0);
    match place.ledger.close(Duration::from_millis(1)) {
        Err(LedgerError::Unwritten { rows: 1, .. }) => {}
        other => panic!("{other:?}"),
    }
}

/// Rows in a deleted log are lost with the process, unless it is noticed.
#[test]
fn a_log_that_was_deleted_loses_nothing() {
    let place = Place::new();
    place.write(3, 3);
    fs::remove_file(log_of(&place.path)).unwrap();
    place.write(2, 5);
    // A copy has what a kill would leave.
    let copy = place.path_of("copy.sqlite3");
    fs::copy(&place.path, &copy).unwrap();
    fs::copy(log_of(&place.path), log_of(&copy)).unwrap();
    assert_eq!(rows(&copy), 5);
}

#[test]
fn a_damaged_file_is_refused_at_start() {
    let place = Place::new();
    place.write(2000, 2000);
    close(&place.ledger);
    let mut content = fs::read(&place.path).unwrap();
    let middle = content.len() / 2;
    content[middle - 30_000..middle + 30_000].fill(0x5a);
    fs::write(&place.path, &content).unwrap();
    let refused = Ledger::check(&Location::Sqlite(place.path.clone()));
    let refused = refused.unwrap_err().to_string();
    assert!(refused.contains("restore it from a backup"), "{refused}");

    fs::write(
        &place.path,
        [&b"SQLite format 3\0"[..], &[0x5a; 4096]].concat(),
    )
    .unwrap();
    let refused = Ledger::check(&Location::Sqlite(place.path.clone()));
    let refused = refused.unwrap_err().to_string();
    assert!(refused.contains("restore it from a backup"), "{refused}");
}

#[test]
fn only_regular_files_are_ledgers() {
    let directory = tempfile::tempdir().unwrap();
    let location = Location::Sqlite(directory.path().to_owned());
    for refused in [
        Ledger::check(&location).err(),
        LedgerReader::open(&location).err(),
    ] {
        let refused = refused.unwrap().to_string();
        assert!(refused.contains("not a regular file"), "{refused}");
    }
}
