//! A ledger in a PostgreSQL database, which several replicas can share.

mod session;

use std::borrow::Cow;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::pin::pin;
use std::time::{Duration, Instant};

use futures_util::TryStreamExt;
use tokio_postgres::types::{FromSqlOwned, ToSql};
use tokio_postgres::{Client, Transaction};

use self::session::{Limit, ServerTimeouts, Session};
use super::{Access, Flush, INSERT_ATTEMPTS, OpenRun, Row, Run, Store, UPDATE_RUN, UPSERT_MINUTE};
use crate::schema::{MIGRATIONS, VERSION};
use crate::{LedgerEntry, LedgerError, Location};

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

/// Inserts all rows with one statement, one array per column.
async fn insert_attempts(
    transaction: &mut Transaction<'_>,
    run: i64,
    entries: &[(i64, LedgerEntry)],
) -> Result<(), LedgerError> {
    fn column<'a, T>(
        entries: &'a [(i64, LedgerEntry)],
        value: impl Fn(&'a LedgerEntry) -> T,
    ) -> Vec<T> {
        entries.iter().map(|(_, entry)| value(entry)).collect()
    }
    let integers = |value: fn(&LedgerEntry) -> i64| column(entries, value);
    let reals = |value: fn(&LedgerEntry) -> Option<f64>| column(entries, value);
    let texts = |value: fn(&LedgerEntry) -> Option<&str>| {
        column(entries, |entry| value(entry).map(storable))
    };
    let names = |value: fn(&LedgerEntry) -> Option<&str>| {
        column(entries, |entry| {
            value(entry).map(|text| bounded(text, MAX_NAME_BYTES))
        })
    };
    let users = column(entries, |entry| {
        let user = entry.user.as_deref();
        user.map(|user| bounded(user, MAX_USER_BYTES))
    });
    let seqs: Vec<i64> = entries.iter().map(|(seq, _)| *seq).collect();
    let costs = column(entries, |entry| entry.cost_usd.map(|cost| cost.to_string()));
    let statement = format!(
        "{INSERT_ATTEMPTS} SELECT $1, seq, ended_us, started_us, request_id, api_key, user_id, \
         model, adapter, adapter_generation, input_tokens, cached_tokens, output_tokens, \
         device_ps, input_ps, cached_ps, output_ps, cost_usd::numeric, queue_seconds, \
         ttft_seconds, itl_p50_seconds, itl_p95_seconds, outcome, status, prompt, tenant \
         FROM unnest($2::bigint[], $3::bigint[], $4::bigint[], $5::text[], $6::text[], \
         $7::text[], $8::text[], $9::text[], $10::text[], $11::bigint[], $12::bigint[], \
         $13::bigint[], $14::bigint[], $15::bigint[], $16::bigint[], $17::bigint[], $18::text[], \
         $19::float8[], $20::float8[], $21::float8[], $22::float8[], $23::text[], $24::bigint[], \
         $25::text[], $26::text[]) \
         AS row (seq, ended_us, started_us, request_id, api_key, user_id, model, adapter, \
         adapter_generation, input_tokens, cached_tokens, output_tokens, device_ps, input_ps, \
         cached_ps, output_ps, cost_usd, queue_seconds, ttft_seconds, itl_p50_seconds, \
         itl_p95_seconds, outcome, status, prompt, tenant) ON CONFLICT DO NOTHING"
    );
    transaction
        .execute(
            &statement,
            &[
                &run,
                &seqs,
                &integers(|entry| entry.ended_us),
                &integers(|entry| entry.started_us),
                &texts(|entry| Some(&entry.request_id)),
                &names(|entry| entry.api_key.as_deref()),
                &users,
                &names(|entry| Some(&entry.model)),
                &names(|entry| entry.adapter.as_deref()),
                &texts(|entry| entry.adapter_generation.as_deref()),
                &integers(|entry| entry.input_tokens as i64),
                &integers(|entry| entry.cached_tokens as i64),
                &integers(|entry| entry.output_tokens as i64),
                &integers(|entry| entry.device_time.stored()),
                &integers(|entry| entry.input_time.stored()),
                &integers(|entry| entry.cached_time.stored()),
                &integers(|entry| entry.output_time.stored()),
                &costs,
                &reals(|entry| entry.queue_seconds),
                &reals(|entry| entry.ttft_seconds),
                &reals(|entry| entry.itl_p50_seconds),
                &reals(|entry| entry.itl_p95_seconds),
                &texts(|entry| Some(entry.outcome.as_str())),
                &integers(|entry| entry.status.into()),
                &texts(|entry| entry.prompt.as_deref()),
                &names(|entry| entry.tenant.as_deref()),
            ],
        )
        .await?;
    Ok(())
}

/// An entry of an index has at most 2,704 bytes, and the sums of a day are found by six texts. A row
/// that does not fit would block all later rows, so texts that callers choose are shortened.
const MAX_NAME_BYTES: usize = 350;
const MAX_USER_BYTES: usize = 1100;

/// `text` without NUL characters, which PostgreSQL cannot store. If it is longer than `max_bytes`, its
/// end is replaced by a hash of the whole, so that different texts stay different.
fn bounded(text: &str, max_bytes: usize) -> Cow<'_, str> {
    let text = storable(text);
    if text.len() <= max_bytes {
        return text;
    }
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    let hash = format!("…{:016x}", hasher.finish());
    let kept = text.floor_char_boundary(max_bytes - hash.len());
    format!("{}{hash}", &text[..kept]).into()
}

/// PostgreSQL cannot store NUL characters. A row with one would block all later rows.
fn storable(text: &str) -> Cow<'_, str> {
    if text.contains('\0') {
        text.replace('\0', "\u{FFFD}").into()
    } else {
        text.into()
    }
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
