//! A ledger in a PostgreSQL database, which several replicas can share.

use std::borrow::Cow;
use std::time::Duration;

use postgres::config::{Host, SslMode};
use postgres::fallible_iterator::FallibleIterator;
use postgres::types::FromSqlOwned;
use postgres::{Client, Config, NoTls, Transaction};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::{Access, Flush, INSERT_ATTEMPTS, Row, Run, Store, UPDATE_RUN, UPSERT_MINUTE};
use crate::error::describe;
use crate::schema::{MIGRATIONS, VERSION};
use crate::{LedgerEntry, LedgerError, Location};

/// Without a timeout a server that does not answer would block forever.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const TCP_TIMEOUT: Duration = Duration::from_secs(30);

/// The advisory lock for migrations. The number is arbitrary.
const MIGRATION_LOCK: i64 = 0x4652_5448;

pub(super) struct PostgresStore {
    config: Config,
    location: Location,
    /// `None` after it has failed.
    client: Option<Client>,
}

impl PostgresStore {
    pub(super) fn open(
        location: &Location,
        url: &str,
        access: Access,
    ) -> Result<Self, LedgerError> {
        let mut config: Config = url.parse()?;
        if config.get_connect_timeout().is_none() {
            config.connect_timeout(CONNECT_TIMEOUT);
        }
        if config.get_tcp_user_timeout().is_none() {
            config.tcp_user_timeout(TCP_TIMEOUT);
        }
        let mut client = connect(&config, location)?;
        migrate(&mut client, location, access)?;
        if access == Access::Read {
            // A reader sees one snapshot, however many queries it runs.
            client.batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY")?;
        }
        Ok(Self {
            config,
            location: location.clone(),
            client: Some(client),
        })
    }

    /// The connection. It is opened again if it was lost.
    fn client(&mut self) -> Result<&mut Client, LedgerError> {
        if self.client.as_ref().is_some_and(Client::is_closed) {
            self.client = None;
        }
        match &mut self.client {
            Some(client) => Ok(client),
            empty => Ok(empty.insert(connect(&self.config, &self.location)?)),
        }
    }

    /// Runs `work` on the connection. If that fails, the connection is dropped, because its state
    /// is unknown.
    fn with_client<T>(
        &mut self,
        work: impl FnOnce(&mut Client) -> Result<T, LedgerError>,
    ) -> Result<T, LedgerError> {
        let done = work(self.client()?);
        if done.is_err() {
            self.client = None;
        }
        done
    }
}

fn connect(config: &Config, location: &Location) -> Result<Client, LedgerError> {
    let refusal = |reason: String| LedgerError::Open {
        location: location.clone(),
        reason,
    };
    let is_local = |host: &Host| matches!(host, Host::Unix(_));
    let may_encrypt =
        config.get_ssl_mode() != SslMode::Disable && !config.get_hosts().iter().all(is_local);
    let client = match may_encrypt.then(MakeRustlsConnect::with_native_certs) {
        Some(Ok((tls, _))) => config.connect(tls),
        // Without certificates the server cannot be verified. That is fine unless verification is
        // required.
        Some(Err(errors)) if config.get_ssl_mode() == SslMode::Require => {
            let causes: Vec<_> = errors.iter().map(ToString::to_string).collect();
            let causes = causes.join("; ");
            return Err(refusal(format!(
                "there are no certificates to check the server with (ca-certificates, or \
                 SSL_CERT_FILE): {causes}"
            )));
        }
        Some(Err(_)) | None => config.connect(NoTls),
    };
    let mut client = client.map_err(|error| refusal(describe(&error)))?;
    client.batch_execute("SET search_path TO farthing")?;
    Ok(client)
}

fn migrate(client: &mut Client, location: &Location, access: Access) -> Result<(), LedgerError> {
    let mut transaction = client.transaction()?;
    if access == Access::Write {
        // Replicas that start together take turns here.
        transaction.execute("SELECT pg_advisory_xact_lock($1)", &[&MIGRATION_LOCK])?;
        transaction.batch_execute(
            "CREATE SCHEMA IF NOT EXISTS farthing; \
             CREATE TABLE IF NOT EXISTS farthing.schema_version (version BIGINT NOT NULL)",
        )?;
    }
    let is_there: bool = transaction
        .query_one(
            "SELECT to_regclass('farthing.schema_version') IS NOT NULL",
            &[],
        )?
        .try_get(0)?;
    let found: i64 = if is_there {
        let sql = "SELECT coalesce(max(version), 0) FROM farthing.schema_version";
        transaction.query_one(sql, &[])?.try_get(0)?
    } else {
        0
    };
    super::check_version(location, access, found)?;
    if found < VERSION {
        for migration in &MIGRATIONS[found as usize..] {
            transaction.batch_execute(migration.postgres)?;
        }
        transaction.execute("DELETE FROM farthing.schema_version", &[])?;
        let insert = "INSERT INTO farthing.schema_version VALUES ($1)";
        transaction.execute(insert, &[&VERSION])?;
    }
    Ok(transaction.commit()?)
}

impl Store for PostgresStore {
    fn begin(&mut self, run: &Run) -> Result<i64, LedgerError> {
        self.with_client(|client| {
            let row = client.query_one(
                "INSERT INTO runs (started_us, heartbeat_us, model, version, price_per_hour_usd) \
                 VALUES ($1, $1, $2, $3, $4::text::numeric) RETURNING id",
                &[
                    &run.started_us,
                    &run.model,
                    &run.version,
                    &run.price_per_hour_usd,
                ],
            )?;
            Ok(row.try_get(0)?)
        })
    }

    fn write(&mut self, flush: &Flush<'_>) -> Result<(), LedgerError> {
        self.with_client(|client| {
            let mut transaction = client.transaction()?;
            if !flush.entries.is_empty() {
                insert_attempts(&mut transaction, flush.run, flush.entries)?;
            }
            for minute in flush.minutes {
                let times = minute.times.map(|time| time.stored());
                let [window, steps, idle, host, warm_up, adapter_load] = &times;
                transaction.execute(
                    UPSERT_MINUTE,
                    &[
                        &minute.start,
                        &flush.run,
                        window,
                        steps,
                        idle,
                        host,
                        warm_up,
                        adapter_load,
                    ],
                )?;
            }
            let closed_us = flush.is_last.then_some(flush.at_us);
            transaction.execute(UPDATE_RUN, &[&flush.at_us, &closed_us, &flush.run])?;
            Ok(transaction.commit()?)
        })
    }

    fn query(
        &mut self,
        sql: &str,
        params: &[String],
        each: &mut dyn FnMut(&dyn Row) -> Result<(), LedgerError>,
    ) -> Result<(), LedgerError> {
        self.with_client(|client| {
            let mut rows = client.query_raw(sql, params)?;
            while let Some(row) = rows.next()? {
                each(&row)?;
            }
            Ok(())
        })
    }
}

/// Inserts all rows with one statement, one array per column.
fn insert_attempts(
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
    transaction.execute(
        &statement,
        &[
            &run,
            &seqs,
            &integers(|entry| entry.ended_us),
            &integers(|entry| entry.started_us),
            &texts(|entry| Some(&entry.request_id)),
            &texts(|entry| entry.api_key.as_deref()),
            &texts(|entry| entry.user.as_deref()),
            &texts(|entry| Some(&entry.model)),
            &texts(|entry| entry.adapter.as_deref()),
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
            &texts(|entry| entry.tenant.as_deref()),
        ],
    )?;
    Ok(())
}

/// PostgreSQL cannot store NUL characters. A row with one would block all later rows.
fn storable(text: &str) -> Cow<'_, str> {
    if text.contains('\0') {
        text.replace('\0', "\u{FFFD}").into()
    } else {
        text.into()
    }
}

impl Row for postgres::Row {
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

fn read<T: FromSqlOwned>(row: &postgres::Row, column: usize) -> Result<T, LedgerError> {
    Ok(row.try_get(column)?)
}
