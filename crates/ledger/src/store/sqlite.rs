//! A ledger in a SQLite file in WAL mode: readers and the writer do not block each other.

mod file_identity;
mod read_only;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use rusqlite::types::{FromSql, Value};
use rusqlite::{
    Connection, ErrorCode, OpenFlags, OptionalExtension, TransactionBehavior, params,
    params_from_iter,
};

use self::file_identity::{FileIdentity, OpenFiles, beside};
use super::{Access, Flush, INSERT_ATTEMPTS, OpenRun, Row, Run, Store, UPDATE_RUN, UPSERT_MINUTE};
use crate::schema::{MIGRATIONS, VERSION};
use crate::{LedgerEntry, LedgerError, Location};

/// How long to wait for another process that writes the file.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// How long to look for damage at start. A ledger of some gigabytes is not read to its end.
const VERIFY_TIMEOUT: Duration = Duration::from_secs(5);

/// A file that someone puts in the place of the ledger is used once it has not changed for this long:
/// a copy takes time.
const SETTLED: Duration = Duration::from_secs(2);

/// SQLite asks after this many of its instructions whether to go on.
const INSTRUCTIONS_BETWEEN_CHECKS: i32 = 10_000;

/// "FRTH": identifies a ledger among SQLite files.
const APPLICATION_ID: i64 = 0x4652_5448;

pub(super) struct SqliteStore {
    location: Location,
    path: PathBuf,
    /// `None` only while the file is opened anew and after that failed.
    connection: Option<Connection>,
    /// The files behind the connection when it was opened.
    files: OpenFiles,
    run: Option<OpenRun>,
    /// When a reader gives up.
    until: Option<(Instant, Instant)>,
}

/// What opening may do.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Purpose {
    /// Create or migrate the ledger of a server that starts.
    Start,
    /// Open the ledger of a server that runs. It must be there as it was.
    Resume,
}

impl SqliteStore {
    pub(super) fn open(
        location: &Location,
        path: &Path,
        access: Access,
    ) -> Result<Self, LedgerError> {
        let (connection, until) = match access {
            Access::Read { until } => {
                let until = until.map(|until| (Instant::now(), until));
                (open_for_reading(location, path, until)?, until)
            }
            Access::Write => (open_for_writing(location, path, Purpose::Start)?, None),
        };
        let files = OpenFiles::at(path).map_err(|error| refusal(location, error))?;
        Ok(Self {
            location: location.clone(),
            path: path.to_owned(),
            connection: Some(connection),
            files,
            run: None,
            until,
        })
    }

    fn connection(&mut self) -> Result<&mut Connection, LedgerError> {
        let none = || LedgerError::Lost {
            path: self.path.clone(),
            what: "could not be opened again".to_owned(),
        };
        self.connection.as_mut().ok_or_else(none)
    }

    /// Makes sure that rows go to the file that has the ledger's name. A file that was moved or
    /// deleted can still be written, but nobody would find the rows. A file that comes in its place
    /// is opened.
    fn follow_files(&mut self) -> Result<(), LedgerError> {
        let now = OpenFiles::at(&self.path)
            .map_err(|error| self.lost(format!("cannot be found: {error}")))?;
        if self.connection.is_some() && now == self.files {
            return Ok(());
        }
        let Some(database) = now.database else {
            self.save_log();
            return Err(self.lost("is gone".to_owned()));
        };
        if Some(database) == self.files.database {
            // The log was deleted or came back. All that is in the open one goes to the database.
            self.save_log();
        } else {
            self.check_replacement(database)?;
        }
        self.connection = None;
        self.reopen()?;
        tracing::warn!("the ledger's file was moved or replaced: it is open again");
        Ok(())
    }

    /// Copies the write-ahead log into the database, so that a file that was moved without its log
    /// is complete.
    fn save_log(&mut self) {
        if let Some(connection) = &self.connection {
            let saved = connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", (), |_| Ok(()));
            if let Err(error) = saved {
                tracing::warn!("the write-ahead log of the moved ledger is not saved: {error}");
            }
        }
    }

    /// Checks another file in the ledger's place, before the old one is closed.
    fn check_replacement(&mut self, database: FileIdentity) -> Result<(), LedgerError> {
        let modified = fs::metadata(&self.path).and_then(|metadata| metadata.modified());
        let is_settled = modified.ok().is_none_or(|modified| {
            let age = SystemTime::now().duration_since(modified);
            age.is_ok_and(|age| age >= SETTLED)
        });
        if !is_settled {
            return Err(self.lost("is being replaced".to_owned()));
        }
        self.save_log();
        // The old log under the new file's name would be taken for the new file's.
        let log = beside(&self.path, "-wal");
        let at_log = OpenFiles::at(&self.path).map_err(|error| self.lost(error.to_string()))?;
        if at_log.database != Some(database) {
            return Err(self.lost("is being replaced".to_owned()));
        }
        let is_old_log = at_log.log.is_some() && at_log.log == self.files.log;
        if is_old_log && fs::metadata(&log).is_ok_and(|log| log.len() > 0) {
            return Err(self.lost(format!(
                "was replaced, but the old write-ahead log {} is still in use",
                log.display()
            )));
        }
        Ok(())
    }

    fn reopen(&mut self) -> Result<(), LedgerError> {
        let mut connection = open_for_writing(&self.location, &self.path, Purpose::Resume)?;
        verify(&self.location, &mut connection, SETTLED)?;
        if let Some(OpenRun { id, run }) = self.run.take() {
            // A replacement may be a backup from before this run.
            let sql = "SELECT 1 FROM runs WHERE id = $1 AND started_us = $2";
            let found = connection.query_row(sql, params![id, run.started_us], |_| Ok(()));
            let found = found.optional();
            let kept = match found {
                Ok(Some(())) => Ok(id),
                Ok(None) => insert_run(&mut connection, &run),
                Err(error) => Err(error),
            };
            self.run = Some(OpenRun {
                id: *kept.as_ref().unwrap_or(&id),
                run,
            });
            kept?;
        }
        self.files = OpenFiles::at(&self.path).map_err(|error| self.lost(error.to_string()))?;
        self.connection = Some(connection);
        Ok(())
    }

    fn lost(&self, what: String) -> LedgerError {
        LedgerError::Lost {
            path: self.path.clone(),
            what,
        }
    }
}

fn refusal(location: &Location, reason: impl ToString) -> LedgerError {
    LedgerError::Open {
        location: location.clone(),
        reason: reason.to_string(),
    }
}

/// The message of SQLite, and what to do.
fn explained(location: &Location, error: &rusqlite::Error) -> LedgerError {
    let advice = match error.sqlite_error_code() {
        Some(ErrorCode::NotADatabase) => {
            "it is not a ledger, or damaged: use another file, or restore it from a backup"
        }
        Some(ErrorCode::DatabaseCorrupt) => {
            "it is damaged: restore it from a backup, or save its rows with `sqlite3 FILE .recover`"
        }
        Some(ErrorCode::ReadOnly | ErrorCode::CannotOpen | ErrorCode::PermissionDenied) => {
            "check that the file and its directory exist and may be written"
        }
        Some(ErrorCode::DiskFull) => "free some space on its disk",
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            "another program has locked it: end that program"
        }
        _ => return refusal(location, error),
    };
    refusal(location, format!("{error}: {advice}"))
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

fn open_for_reading(
    location: &Location,
    path: &Path,
    until: Option<(Instant, Instant)>,
) -> Result<Connection, LedgerError> {
    check_kind(location, path)?;
    if !path.exists() {
        return Err(refusal(location, "there is no such file"));
    }
    let mut connection = read_only::open(path).map_err(|error| explained(location, &error))?;
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

fn open_for_writing(
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
        super::check_unchanged(location, Access::Write, found)?;
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
    super::check_version(location, access, found)?;
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
fn verify(
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

fn is_ledger_or_new(connection: &Connection) -> rusqlite::Result<bool> {
    connection.busy_timeout(BUSY_TIMEOUT)?;
    let is_empty = "SELECT count(*) = 0 FROM sqlite_schema";
    let is_empty = connection.query_row(is_empty, (), |row| row.get(0))?;
    Ok(is_empty || pragma(connection, "application_id")? == APPLICATION_ID)
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

fn pragma(connection: &Connection, name: &str) -> rusqlite::Result<i64> {
    connection.pragma_query_value(None, name, |row| row.get(0))
}

fn insert_run(connection: &mut Connection, run: &Run) -> rusqlite::Result<i64> {
    connection.execute(
        "INSERT INTO runs (started_us, heartbeat_us, model, version, price_per_hour_usd) \
         VALUES ($1, $1, $2, $3, $4)",
        params![
            run.started_us,
            run.model,
            run.version,
            run.price_per_hour_usd
        ],
    )?;
    Ok(connection.last_insert_rowid())
}

impl Store for SqliteStore {
    fn begin(&mut self, run: Run) -> Result<(), LedgerError> {
        let id = insert_run(self.connection()?, &run)?;
        self.run = Some(OpenRun { id, run });
        self.files = OpenFiles::at(&self.path).map_err(|error| self.lost(error.to_string()))?;
        Ok(())
    }

    fn write(&mut self, flush: &Flush<'_>) -> Result<(), LedgerError> {
        self.follow_files()?;
        let run = self.run.as_ref().map_or(0, |run| run.id);
        let connection = self.connection()?;
        let patience = flush.until.saturating_duration_since(Instant::now());
        connection.busy_timeout(patience.min(BUSY_TIMEOUT))?;
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        {
            let mut insert = transaction.prepare_cached(&format!(
                "{INSERT_ATTEMPTS} VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, \
                 $14, $15, $16, $17, $18, $19, $20, $21, $22, $23, $24, $25, $26) ON CONFLICT DO NOTHING"
            ))?;
            for (seq, entry) in flush.entries {
                insert.execute(params_from_iter(values(run, *seq, entry)))?;
            }
            let mut upsert = transaction.prepare_cached(UPSERT_MINUTE)?;
            for minute in flush.minutes {
                let times = minute.times.map(|time| time.stored());
                upsert.execute(params_from_iter(
                    [minute.start, run].into_iter().chain(times),
                ))?;
            }
            let closed_us = flush.is_last.then_some(flush.at_us);
            let mut update = transaction.prepare_cached(UPDATE_RUN)?;
            update.execute(params![flush.at_us, closed_us, run])?;
        }
        Ok(transaction.commit()?)
    }

    fn verify(&mut self) -> Result<(), LedgerError> {
        let location = self.location.clone();
        verify(&location, self.connection()?, VERIFY_TIMEOUT)
    }

    fn query(
        &mut self,
        sql: &str,
        params: &[String],
        each: &mut dyn FnMut(&dyn Row) -> Result<(), LedgerError>,
    ) -> Result<(), LedgerError> {
        let until = self.until;
        let late = |error: rusqlite::Error| match (error.sqlite_error_code(), until) {
            (Some(ErrorCode::OperationInterrupted), Some((began, until))) => {
                LedgerError::NoAnswer {
                    seconds: until.saturating_duration_since(began).as_secs_f64(),
                }
            }
            _ => error.into(),
        };
        let mut statement = self.connection()?.prepare(sql)?;
        let mut rows = statement.query(params_from_iter(params))?;
        while let Some(row) = rows.next().map_err(late)? {
            each(row)?;
        }
        Ok(())
    }
}

/// In the order of `INSERT_ATTEMPTS`.
fn values(run: i64, seq: i64, entry: &LedgerEntry) -> [Value; 26] {
    let text = |text: &Option<String>| text.clone().map_or(Value::Null, Value::Text);
    let real = |real: Option<f64>| real.map_or(Value::Null, Value::Real);
    [
        run.into(),
        seq.into(),
        entry.ended_us.into(),
        entry.started_us.into(),
        entry.request_id.clone().into(),
        text(&entry.api_key),
        text(&entry.user),
        entry.model.clone().into(),
        text(&entry.adapter),
        text(&entry.adapter_generation),
        (entry.input_tokens as i64).into(),
        (entry.cached_tokens as i64).into(),
        (entry.output_tokens as i64).into(),
        entry.device_time.stored().into(),
        entry.input_time.stored().into(),
        entry.cached_time.stored().into(),
        entry.output_time.stored().into(),
        text(&entry.cost_usd.map(|cost| cost.to_string())),
        real(entry.queue_seconds),
        real(entry.ttft_seconds),
        real(entry.itl_p50_seconds),
        real(entry.itl_p95_seconds),
        entry.outcome.as_str().to_owned().into(),
        i64::from(entry.status).into(),
        text(&entry.prompt),
        text(&entry.tenant),
    ]
}

impl Row for rusqlite::Row<'_> {
    fn integer(&self, column: usize) -> Result<i64, LedgerError> {
        read(self, column)
    }

    fn real(&self, column: usize) -> Result<Option<f64>, LedgerError> {
        read(self, column)
    }

    fn text(&self, column: usize) -> Result<Option<String>, LedgerError> {
        read(self, column)
    }
}

fn read<T: FromSql>(row: &rusqlite::Row<'_>, column: usize) -> Result<T, LedgerError> {
    Ok(row.get(column)?)
}
