//! A ledger in a SQLite file in WAL mode: readers and the writer do not block each other.

mod connection;
mod file_identity;
mod notes;
mod owner;
mod read_only;
mod refusal;
mod values;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use rusqlite::types::FromSql;
use rusqlite::{
    Connection, ErrorCode, OptionalExtension, Transaction, TransactionBehavior, params,
    params_from_iter,
};

use self::connection::{Purpose, open_for_reading, open_for_writing, verify};
use self::file_identity::{FileIdentity, OpenFiles, beside};
use self::refusal::refusal;
use self::values::values;
use super::notes::{Noted, Notes};
use super::{Access, Flush, INSERT_ATTEMPTS, OpenRun, Row, Run, Store, UPDATE_RUN, UPSERT_MINUTE};
use crate::{LedgerError, Location};

/// How long to wait for another process that writes the file.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// How long to look for damage at start. A ledger of some gigabytes is not read to its end.
const VERIFY_TIMEOUT: Duration = Duration::from_secs(5);

/// A file that someone puts in the place of the ledger is used once it has not changed for this long:
/// a copy takes time.
const SETTLED: Duration = Duration::from_secs(2);

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

/// Begins to write, and waits for others that write until `until` at the latest.
fn begin(connection: &mut Connection, until: Instant) -> Result<Transaction<'_>, LedgerError> {
    let patience = until.saturating_duration_since(Instant::now());
    connection.busy_timeout(patience.min(BUSY_TIMEOUT))?;
    Ok(connection.transaction_with_behavior(TransactionBehavior::Immediate)?)
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
        let transaction = begin(self.connection()?, flush.until)?;
        {
            let mut insert = transaction.prepare_cached(&format!(
                "{INSERT_ATTEMPTS} VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, \
                 $14, $15, $16, $17, $18, $19, $20, $21, $22, $23, $24, $25, $26, $27, $28, $29, $30, \
                 $31, $32, $33, $34, $35, $36, $37, $38, $39, $40) ON CONFLICT DO NOTHING"
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

    fn note(&mut self, notes: &Notes<'_>) -> Result<Noted, LedgerError> {
        self.follow_files()?;
        let connection = self.connection()?;
        // Someone waits, and an assignment need not survive the machine: no answer would, either.
        connection.pragma_update(None, "synchronous", "NORMAL")?;
        let noted = begin(connection, notes.until).and_then(|transaction| {
            let noted = notes::write(&transaction, notes)?;
            transaction.commit()?;
            Ok(noted)
        });
        // A flush survives it, and what was written before it, too.
        connection.pragma_update(None, "synchronous", "FULL")?;
        noted
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
