//! A ledger in a SQLite file in WAL mode: readers and the writer do not block each other.

use std::fs;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use rusqlite::types::{FromSql, Value};
use rusqlite::{Connection, ErrorCode, OpenFlags, TransactionBehavior, params, params_from_iter};

use super::{Access, Flush, INSERT_ATTEMPTS, Row, Run, Store, UPDATE_RUN, UPSERT_MINUTE};
use crate::schema::{MIGRATIONS, VERSION};
use crate::{LedgerEntry, LedgerError, Location};

/// How long to wait for another process that writes the file.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// "FRTH": identifies a ledger among SQLite files.
const APPLICATION_ID: i64 = 0x4652_5448;

pub(super) struct SqliteStore {
    connection: Connection,
}

impl SqliteStore {
    pub(super) fn open(
        location: &Location,
        path: &Path,
        access: Access,
    ) -> Result<Self, LedgerError> {
        let refusal = |reason: String| LedgerError::Open {
            location: location.clone(),
            reason,
        };
        let mut flags = OpenFlags::SQLITE_OPEN_NO_MUTEX;
        match access {
            Access::Read => flags |= OpenFlags::SQLITE_OPEN_READ_ONLY,
            Access::Write => {
                flags |= OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE;
                if let Some(directory) = path.parent() {
                    fs::create_dir_all(directory).map_err(|error| refusal(error.to_string()))?;
                }
            }
        }
        if access == Access::Read && !path.exists() {
            return Err(refusal("there is no such file".to_owned()));
        }
        let connection = Connection::open_with_flags(path, flags);
        let connection = connection.map_err(|error| refusal(error.to_string()))?;
        // Checked before any setting, because even the journal mode is stored in the file.
        match is_ledger_or_new(&connection) {
            Ok(true) => {}
            Ok(false) => return Err(refusal("it is another program's SQLite file".to_owned())),
            Err(error) => return Err(refusal(error.to_string())),
        }
        if access == Access::Write {
            set_up(&connection).map_err(|error| refusal(error.to_string()))?;
        }
        Self { connection }.migrated(location, access)
    }

    /// Rejects an unknown schema, and migrates an older one.
    fn migrated(mut self, location: &Location, access: Access) -> Result<Self, LedgerError> {
        let behavior = match access {
            Access::Read => TransactionBehavior::Deferred,
            // Only one process at a time checks and migrates.
            Access::Write => TransactionBehavior::Immediate,
        };
        let transaction = self.connection.transaction_with_behavior(behavior)?;
        let found = pragma(&transaction, "user_version")?;
        super::check_version(location, access, found)?;
        if found < VERSION {
            for migration in &MIGRATIONS[found as usize..] {
                transaction.execute_batch(migration.sqlite)?;
            }
            transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
            transaction.pragma_update(None, "user_version", VERSION)?;
        }
        transaction.commit()?;
        if access == Access::Read {
            // A reader sees one snapshot, however many queries it runs.
            self.connection.execute_batch("BEGIN")?;
        }
        Ok(self)
    }
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

impl Store for SqliteStore {
    fn begin(&mut self, run: &Run) -> Result<i64, LedgerError> {
        self.connection.execute(
            "INSERT INTO runs (started_us, heartbeat_us, model, version, price_per_hour_usd) \
             VALUES ($1, $1, $2, $3, $4)",
            params![
                run.started_us,
                run.model,
                run.version,
                run.price_per_hour_usd
            ],
        )?;
        Ok(self.connection.last_insert_rowid())
    }

    fn write(&mut self, flush: &Flush<'_>) -> Result<(), LedgerError> {
        let transaction = self
            .connection
            .transaction_with_behavior(TransactionBehavior::Immediate)?;
        {
            let mut insert = transaction.prepare_cached(&format!(
                "{INSERT_ATTEMPTS} VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, \
                 $14, $15, $16, $17, $18, $19, $20, $21, $22, $23, $24, $25, $26) ON CONFLICT DO NOTHING"
            ))?;
            for (seq, entry) in flush.entries {
                insert.execute(params_from_iter(values(flush.run, *seq, entry)))?;
            }
            let mut upsert = transaction.prepare_cached(UPSERT_MINUTE)?;
            for minute in flush.minutes {
                let times = minute.times.map(|time| time.stored());
                upsert.execute(params_from_iter(
                    [minute.start, flush.run].into_iter().chain(times),
                ))?;
            }
            let closed_us = flush.is_last.then_some(flush.at_us);
            let mut update = transaction.prepare_cached(UPDATE_RUN)?;
            update.execute(params![flush.at_us, closed_us, flush.run])?;
        }
        Ok(transaction.commit()?)
    }

    fn query(
        &mut self,
        sql: &str,
        params: &[String],
        each: &mut dyn FnMut(&dyn Row) -> Result<(), LedgerError>,
    ) -> Result<(), LedgerError> {
        let mut statement = self.connection.prepare(sql)?;
        let mut rows = statement.query(params_from_iter(params))?;
        while let Some(row) = rows.next()? {
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
