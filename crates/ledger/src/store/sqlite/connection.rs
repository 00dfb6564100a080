//! A connection to the file: opened, checked, set up and migrated.

use std::path::Path;
use std::time::{Duration, Instant};
use std::{fs, io, thread};

use rusqlite::{Connection, ErrorCode, OpenFlags, TransactionBehavior};

use super::owner::{APPLICATION_ID, is_ledger_or_new, pragma};
use super::refusal::{explained, refusal};
use super::{BUSY_TIMEOUT, read_only};
use crate::schema::{MIGRATIONS, VERSION};
use crate::store::{self, Access};
use crate::{LedgerError, Location};

/// SQLite asks after this many of its instructions whether to go on.
const INSTRUCTIONS_BETWEEN_CHECKS: i32 = 10_000;

/// A reader's memory for pages. An experiment's feedback is looked up request by request.
const READER_CACHE_KIB: i64 = 65_536;

/// What opening may do.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// Create or migrate the ledger of a server that starts.
    Start,
    /// Open the ledger of a server that runs. It must be there as it was.
    Resume,
}

/// Pipes and devices would block or never end.
fn check_kind(location: &Location, path: &Path) -> Result<(), LedgerError> {
    match fs::metadata(path) {
        Ok(metadata) if metadata.is_file() => Ok(()),
        Ok(_) => Err(refusal(location, "it is not a regular file: name a file")),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(refusal(location, error)),
    }
}

pub(super) fn open_for_reading(
    location: &Location,
    path: &Path,
    until: Option<(Instant, Instant)>,
) -> Result<Connection, LedgerError> {
    check_kind(location, path)?;
    if !path.exists() {
        return Err(refusal(location, "there is no such file"));
    }
    let mut connection = read_only::open(path).map_err(|error| explained(location, &error))?;
    connection.pragma_update(None, "cache_size", -READER_CACHE_KIB)?;
    check_owner(location, &connection)?;
    let done = migrate(&mut connection, location, Access::Read { until: None });
    done?;
    if let Some((_, until)) = until {
        interrupt_at(&mut connection, until)?;
    }
    // A reader sees one snapshot, however many queries it runs.
    connection.execute_batch("BEGIN")?;
    Ok(connection)
}

pub(super) fn open_for_writing(
    location: &Location,
    path: &Path,
    purpose: Purpose,
) -> Result<Connection, LedgerError> {
    check_kind(location, path)?;
    let mut flags = OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_READ_WRITE;
    if purpose == Purpose::Start {
        flags |= OpenFlags::SQLITE_OPEN_CREATE;
        if let Some(directory) = path.parent() {
            fs::create_dir_all(directory).map_err(|error| refusal(location, error))?;
        }
    } else if fs::metadata(path).is_ok_and(|file| file.len() == 0) {
        return Err(refusal(
            location,
            "an empty file is in its place: put the ledger back, or restart the server to begin a \
             new one",
        ));
    }
    let connection = Connection::open_with_flags(path, flags);
    let mut connection = connection.map_err(|error| explained(location, &error))?;
    // Checked before any setting, because even the journal mode is stored in the file.
    check_owner(location, &connection)?;
    if purpose == Purpose::Resume {
        let found = pragma(&connection, "user_version")?;
        store::check_unchanged(location, Access::Write, found)?;
    }
    set_up(&connection).map_err(|error| explained(location, &error))?;
    match migrate(&mut connection, location, Access::Write) {
        Err(LedgerError::Sqlite(error)) => Err(explained(location, &error)),
        done => done.map(|()| connection),
    }
}

/// Rejects files of other programs.
fn check_owner(location: &Location, connection: &Connection) -> Result<(), LedgerError> {
    match is_ledger_or_new(connection) {
        Ok(true) => Ok(()),
        Ok(false) => Err(refusal(
            location,
            "it is another program's SQLite file: use another file",
        )),
        Err(error) => Err(explained(location, &error)),
    }
}

/// Rejects an unknown schema, and migrates an older one.
fn migrate(
    connection: &mut Connection,
    location: &Location,
    access: Access,
) -> Result<(), LedgerError> {
    let behavior = match access {
        Access::Read { .. } => TransactionBehavior::Deferred,
        // Only one process at a time checks and migrates.
        Access::Write => TransactionBehavior::Immediate,
    };
    let transaction = connection.transaction_with_behavior(behavior)?;
    let found = pragma(&transaction, "user_version")?;
    store::check_version(location, access, found)?;
    if found < VERSION {
        for migration in &MIGRATIONS[found as usize..] {
            transaction.execute_batch(migration.sqlite)?;
        }
        transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
        transaction.pragma_update(None, "user_version", VERSION)?;
    }
    Ok(transaction.commit()?)
}

/// Looks for damage, for `patience` at most.
pub(super) fn verify(
    location: &Location,
    connection: &mut Connection,
    patience: Duration,
) -> Result<(), LedgerError> {
    interrupt_at(connection, Instant::now() + patience)?;
    let found: rusqlite::Result<String> =
        connection.query_row("PRAGMA quick_check(1)", (), |row| row.get(0));
    connection.progress_handler(0, None::<fn() -> bool>)?;
    match found {
        Ok(found) if found == "ok" => Ok(()),
        Ok(damage) => Err(refusal(
            location,
            format!(
                "it is damaged ({}): restore it from a backup, or save its rows with `sqlite3 FILE \
                 .recover`",
                damage.trim().replace('\n', " ")
            ),
        )),
        Err(error) if error.sqlite_error_code() == Some(ErrorCode::OperationInterrupted) => Ok(()),
        Err(error) => Err(explained(location, &error)),
    }
}

fn interrupt_at(connection: &mut Connection, until: Instant) -> rusqlite::Result<()> {
    let is_late = move || Instant::now() >= until;
    connection.progress_handler(INSTRUCTIONS_BETWEEN_CHECKS, Some(is_late))
}

fn set_up(connection: &Connection) -> rusqlite::Result<()> {
    use_wal(connection)?;
    // A completed flush survives a crash of the machine.
    connection.pragma_update(None, "synchronous", "FULL")
}

/// Switches to write-ahead logging. SQLite does not wait if others open a new file at the same time.
fn use_wal(connection: &Connection) -> rusqlite::Result<()> {
    const PAUSE: Duration = Duration::from_millis(5);
    let deadline = Instant::now() + BUSY_TIMEOUT;
    loop {
        match connection.pragma_update(None, "journal_mode", "WAL") {
            Err(error)
                if error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy)
                    && Instant::now() < deadline =>
            {
                thread::sleep(PAUSE);
            }
            done => return done,
        }
    }
}
