//! The interface of both databases.

pub(crate) mod notes;
mod postgres;
mod sqlite;

use std::time::{Duration, Instant};

use crate::device_minutes::DeviceMinute;
use crate::{LedgerEntry, LedgerError, Location};

use self::notes::{Noted, Notes};
use self::postgres::PostgresStore;
use self::sqlite::SqliteStore;

/// A database with the ledger's tables. Queries use SQL that both databases accept, with `$1`,
/// `$2`, … for the parameters in this order.
pub(crate) trait Store: Send {
    /// Adds the run that later flushes belong to.
    fn begin(&mut self, run: Run) -> Result<(), LedgerError>;

    /// Writes all of it or nothing, by `flush.until` at the latest. Repeating it changes nothing,
    /// also if a repeated flush arrives before the first one.
    fn write(&mut self, flush: &Flush<'_>) -> Result<(), LedgerError>;

    /// Writes all notes or none, by `notes.until` at the latest. They survive the end of this
    /// process, but maybe not that of the machine.
    fn note(&mut self, notes: &Notes<'_>) -> Result<Noted, LedgerError>;

    /// Looks for damage, for a few seconds at most.
    fn verify(&mut self) -> Result<(), LedgerError> {
        Ok(())
    }

    /// What a column needs in `ORDER BY`, so that texts are ordered by their bytes.
    fn byte_collation(&self) -> &'static str {
        ""
    }

    /// Calls `each` for every row of a query.
    fn query(
        &mut self,
        sql: &str,
        params: &[String],
        each: &mut dyn FnMut(&dyn Row) -> Result<(), LedgerError>,
    ) -> Result<(), LedgerError>;
}

/// How long a flush may take. Shutdown waits for a flush that has begun, so this is well below its
/// patience.
pub(crate) const FLUSH_TIMEOUT: Duration = Duration::from_secs(4);

/// A server process.
#[derive(Clone, Debug)]
pub(crate) struct Run {
    pub started_us: i64,
    pub model: String,
    pub version: String,
    pub price_per_hour_usd: Option<String>,
}

/// A run in the database.
#[derive(Debug)]
struct OpenRun {
    id: i64,
    run: Run,
}

/// The data of one flush.
pub(crate) struct Flush<'a> {
    pub at_us: i64,
    pub until: Instant,
    /// Rows with their numbers within the run.
    pub entries: &'a [(i64, LedgerEntry)],
    pub minutes: &'a [DeviceMinute],
    /// No further flush follows.
    pub is_last: bool,
}

/// A row of a query's result; columns count from 0.
pub(crate) trait Row {
    fn integer(&self, column: usize) -> Result<i64, LedgerError>;
    fn real(&self, column: usize) -> Result<Option<f64>, LedgerError>;
    fn text(&self, column: usize) -> Result<Option<String>, LedgerError>;
}

/// How a ledger is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// Read only. The ledger must exist. Reading ends with an error at `until`.
    Read { until: Option<Instant> },
    /// Read and write. The ledger is created or migrated if necessary.
    Write,
}

impl Access {
    fn is_read(self) -> bool {
        matches!(self, Self::Read { .. })
    }
}

pub(crate) fn open(location: &Location, access: Access) -> Result<Box<dyn Store>, LedgerError> {
    Ok(match location {
        Location::Sqlite(path) => Box::new(SqliteStore::open(location, path, access)?),
        Location::Postgres(url) => Box::new(PostgresStore::open(location, url, access)?),
    })
}

/// Checks that a ledger with schema `found` can be used.
fn check_version(location: &Location, access: Access, found: i64) -> Result<(), LedgerError> {
    let known = crate::schema::VERSION;
    if found > known {
        return Err(LedgerError::TooNew {
            location: location.clone(),
            found,
            known,
        });
    }
    if found < known && access.is_read() {
        let reason = match found {
            0 => "there is no ledger yet: a server makes it".to_owned(),
            _ => format!("its schema {found} is older than {known}: start a server on it once"),
        };
        return Err(LedgerError::Open {
            location: location.clone(),
            reason,
        });
    }
    Ok(())
}

/// Checks that a ledger that was in use still has the schema of this build. It is not migrated:
/// only a restart may change what someone has put there.
fn check_unchanged(location: &Location, access: Access, found: i64) -> Result<(), LedgerError> {
    check_version(location, access, found)?;
    let known = crate::schema::VERSION;
    if found < known {
        return Err(LedgerError::Open {
            location: location.clone(),
            reason: format!(
                "its schema was {known} and is now {found}: restore it, or restart the server to \
                 migrate it"
            ),
        });
    }
    Ok(())
}

const INSERT_ATTEMPTS: &str = "INSERT INTO attempts (run, seq, ended_us, started_us, request_id, \
    api_key, user_id, model, adapter, adapter_generation, input_tokens, cached_tokens, \
    output_tokens, device_ps, input_ps, cached_ps, output_ps, cost_usd, queue_seconds, \
    ttft_seconds, itl_p50_seconds, itl_p95_seconds, outcome, status, prompt, tenant, route, role, attempt, \
    arm, experiment, assigned_arm, unit, booked_to, vendor, vendor_model, vendor_usage, \
    billed_nanos, billed_attos, basis)";

/// A database that was frozen may execute an old flush after newer ones. Device time only grows, so
/// the larger one is the newer one. In the same way a closed run stays closed.
const UPSERT_MINUTE: &str = "INSERT INTO device_minutes (start_s, run, window_ps, steps_ps, \
    idle_ps, host_ps, warm_up_ps, adapter_load_ps) VALUES ($1, $2, $3, $4, $5, $6, $7, $8) \
    ON CONFLICT (start_s, run) DO UPDATE SET window_ps = excluded.window_ps, \
    steps_ps = excluded.steps_ps, idle_ps = excluded.idle_ps, host_ps = excluded.host_ps, \
    warm_up_ps = excluded.warm_up_ps, adapter_load_ps = excluded.adapter_load_ps \
    WHERE excluded.window_ps >= device_minutes.window_ps";

const UPDATE_RUN: &str =
    "UPDATE runs SET heartbeat_us = $1, closed_us = COALESCE($2, closed_us) WHERE id = $3";
