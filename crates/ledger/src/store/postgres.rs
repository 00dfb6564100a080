//! A ledger in a PostgreSQL database, which several replicas can share.

mod insert;
mod notes;
mod session;
mod storable;

use std::pin::pin;
use std::time::{Duration, Instant};

use futures_util::TryStreamExt;
use tokio_postgres::Client;
use tokio_postgres::types::{FromSqlOwned, ToSql};

use self::insert::insert_attempts;
use self::session::{Limit, ServerTimeouts, Session};
use self::storable::{MAX_NAME_BYTES, bounded};
use super::notes::{Noted, Notes};
use super::{Access, Flush, OpenRun, Row, Run, Store, UPDATE_RUN, UPSERT_MINUTE};
use crate::schema::{MIGRATIONS, VERSION};
use crate::{LedgerError, Location};

/// Limits of the server for one statement of the writer, which is one batch. They are below
/// [`FLUSH_TIMEOUT`](super::FLUSH_TIMEOUT), so that the server says what held it up.
const WRITE_TIMEOUT: Duration = Duration::from_secs(3);
const LOCK_TIMEOUT: Duration = Duration::from_secs(2);
/// A writer that is gone must not keep locks.
const IDLE_TIMEOUT: Duration = Duration::from_secs(15);

/// How long a reader waits for a row before it gives up.
const ROW_TIMEOUT: Duration = Duration::from_secs(60);
const READER_LOCK_TIMEOUT: Duration = Duration::from_secs(10);

/// Questions about the schema.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// A migration of a large ledger, and waiting for a replica that is migrating.
const MIGRATION_TIMEOUT: Duration = Duration::from_secs(600);

/// The advisory lock for migrations. The number is arbitrary.
const MIGRATION_LOCK: i64 = 0x4652_5448;

pub(super) struct PostgresStore {
    session: Session,
    location: Location,
    access: Access,
    run: Option<OpenRun>,
}

impl PostgresStore {
    pub(super) fn open(
        location: &Location,
        url: &str,
        access: Access,
    ) -> Result<Self, LedgerError> {
        let timeouts = match access {
            Access::Write => ServerTimeouts {
                statement: Some(WRITE_TIMEOUT),
                lock: Some(LOCK_TIMEOUT),
                idle_in_transaction: Some(IDLE_TIMEOUT),
            },
            Access::Read { until } => ServerTimeouts {
                statement: until.map(|until| until.saturating_duration_since(Instant::now())),
                lock: Some(READER_LOCK_TIMEOUT),
                idle_in_transaction: None,
            },
        };
        let mut store = Self {
            session: Session::new(location, url, timeouts)?,
            location: location.clone(),
            access,
            run: None,
        };
        let found = store.session.run(answer_by(access), version)?;
        super::check_version(location, access, found)?;
        if found < VERSION {
            let until = Instant::now() + MIGRATION_TIMEOUT;
            store.session.run(until, async |client, limit| {
                migrate(client, limit, location).await
            })?;
        }
        if access.is_read() {
            // A reader sees one snapshot, however many queries it runs.
            store
                .session
                .run(answer_by(access), async |client, limit| {
                    let begin = "BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY";
                    limit.wait(client.batch_execute(begin)).await
                })?;
        }
        Ok(store)
    }

    /// The run's id, after checking on a new connection that the database is still the same ledger.
    /// It may have been restored from a backup, where the run is missing.
    fn run_id(&mut self, until: Instant) -> Result<i64, LedgerError> {
        let Some(OpenRun { id, run }) = &self.run else {
            return Err(LedgerError::Corrupt("no run to write for".to_owned()));
        };
        if self.session.is_open() {
            return Ok(*id);
        }
        let (location, access, started_us) = (&self.location, self.access, run.started_us);
        let known = self.session.run(until, async |client, limit| {
            super::check_unchanged(location, access, version(client, limit).await?)?;
            let sql = "SELECT 1 FROM runs WHERE id = $1 AND started_us = $2";
            let found = limit
                .wait(client.query_opt(sql, &[id, &started_us]))
                .await?;
            Ok(found.is_some())
        })?;
        if known {
            return Ok(*id);
        }
        tracing::warn!("the ledger does not have this run any more: it gets a new one");
        let run = run.clone();
        self.begin(run)?;
        self.run
            .as_ref()
            .map(|run| run.id)
            .ok_or_else(|| LedgerError::Corrupt("no run to write for".to_owned()))
    }
}

/// When an answer to a short question must be there.
fn answer_by(access: Access) -> Instant {
    let until = Instant::now() + ANSWER_TIMEOUT;
    match access {
        Access::Read { until: Some(end) } => end.min(until),
        Access::Read { until: None } | Access::Write => until,
    }
}

/// The version of the schema; 0 without one.
async fn version(client: &mut Client, limit: &Limit) -> Result<i64, LedgerError> {
    let sql = "SELECT to_regclass('farthing.schema_version') IS NOT NULL";
    let is_there: bool = limit.wait(client.query_one(sql, &[])).await?.try_get(0)?;
    if !is_there {
        return Ok(0);
    }
    let sql = "SELECT coalesce(max(version), 0) FROM farthing.schema_version";
    Ok(limit.wait(client.query_one(sql, &[])).await?.try_get(0)?)
}

async fn migrate(
    client: &mut Client,
    limit: &Limit,
    location: &Location,
) -> Result<(), LedgerError> {
    let lock = format!("SELECT pg_advisory_xact_lock({MIGRATION_LOCK})");
    // Replicas that start together take turns here, and a migration takes its time.
    let begin = "BEGIN; SET LOCAL statement_timeout = 0; SET LOCAL lock_timeout = 0";
    let create = "CREATE SCHEMA IF NOT EXISTS farthing; \
                  CREATE TABLE IF NOT EXISTS farthing.schema_version (version BIGINT NOT NULL)";
    for sql in [begin, &lock, create] {
        limit.wait(client.batch_execute(sql)).await?;
    }
    let found = version(client, limit).await?;
    super::check_version(location, Access::Write, found)?;
    for migration in &MIGRATIONS[found as usize..] {
        limit.wait(client.batch_execute(migration.postgres)).await?;
    }
    let set = format!(
        "DELETE FROM farthing.schema_version; \
         INSERT INTO farthing.schema_version VALUES ({VERSION}); COMMIT"
    );
    limit.wait(client.batch_execute(&set)).await
}

impl Store for PostgresStore {
    fn begin(&mut self, run: Run) -> Result<(), LedgerError> {
        let until = answer_by(self.access);
        let id = self.session.run(until, async |client, limit| {
            let sql = "INSERT INTO runs (started_us, heartbeat_us, model, version, \
                       price_per_hour_usd) VALUES ($1, $1, $2, $3, $4::text::numeric) RETURNING id";
            let model = bounded(&run.model, MAX_NAME_BYTES);
            let price = &run.price_per_hour_usd;
            let values: [&(dyn ToSql + Sync); 4] = [&run.started_us, &model, &run.version, price];
            let inserted = client.query_one(sql, &values);
            Ok(limit.wait(inserted).await?.try_get(0)?)
        })?;
        self.run = Some(OpenRun { id, run });
        Ok(())
    }

    fn write(&mut self, flush: &Flush<'_>) -> Result<(), LedgerError> {
        let run = self.run_id(flush.until)?;
        self.session.run(flush.until, async |client, limit| {
            limit.wait(write(client, run, flush)).await
        })
    }

    fn note(&mut self, notes: &Notes<'_>) -> Result<Noted, LedgerError> {
        // A database that was replaced is noticed before anything is written to it.
        self.run_id(notes.until)?;
        self.session.run(notes.until, async |client, limit| {
            limit.wait(notes::write(client, notes)).await
        })
    }

    fn byte_collation(&self) -> &'static str {
        " COLLATE \"C\""
    }

    fn query(
        &mut self,
        sql: &str,
        params: &[String],
        each: &mut dyn FnMut(&dyn Row) -> Result<(), LedgerError>,
    ) -> Result<(), LedgerError> {
        let end = match self.access {
            Access::Read { until } => until,
            Access::Write => None,
        };
        let row_by = || {
            let until = Instant::now() + ROW_TIMEOUT;
            end.map_or(until, |end| end.min(until))
        };
        self.session.run(row_by(), async |client, limit| {
            let mut rows = pin!(limit.wait(client.query_raw(sql, params)).await?);
            while let Some(row) = Limit::new(row_by()).wait(rows.try_next()).await? {
                each(&row)?;
            }
            Ok(())
        })
    }
}

async fn write(client: &mut Client, run: i64, flush: &Flush<'_>) -> Result<(), LedgerError> {
    let mut transaction = client.transaction().await?;
    if !flush.entries.is_empty() {
        insert_attempts(&mut transaction, run, flush.entries).await?;
    }
    for minute in flush.minutes {
        let times = minute.times.map(|time| time.stored());
        let [window, steps, idle, host, warm_up, adapter_load] = &times;
        transaction
            .execute(
                UPSERT_MINUTE,
                &[
                    &minute.start,
                    &run,
                    window,
                    steps,
                    idle,
                    host,
                    warm_up,
                    adapter_load,
                ],
            )
            .await?;
    }
    let closed_us = flush.is_last.then_some(flush.at_us);
    transaction
        .execute(UPDATE_RUN, &[&flush.at_us, &closed_us, &run])
        .await?;
    Ok(transaction.commit().await?)
}

impl Row for tokio_postgres::Row {
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

fn read<T: FromSqlOwned>(row: &tokio_postgres::Row, column: usize) -> Result<T, LedgerError> {
    Ok(row.try_get(column)?)
}
