//! The rows of an experiment, in the order in which statistics need them.

use std::time::Duration;

use farthing_economics::HourlyPrice;
use rust_decimal::Decimal;

use crate::bill_columns::read_bill;
use crate::runs::Runs;
use crate::store::{Row, Store};
use crate::{ChargeBasis, LedgerError, Outcome, Picoseconds, Role};

/// An arm to which requests were assigned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AssignedTo {
    /// The arm, with the generation of its adapter if it is pinned to one.
    pub arm: String,
    /// Requests.
    pub requests: u64,
    /// When the first one was assigned, in microseconds since 1970.
    pub first_us: i64,
    /// When the last one was assigned.
    pub last_us: i64,
}

/// Selects the rows of an experiment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExperimentRows {
    /// The experiment's id.
    pub experiment: String,
    /// Requests that were assigned, and attempts whose request arrived, from then on; in
    /// microseconds since 1970.
    pub from_us: i64,
    /// Those before then.
    pub until_us: i64,
}

/// A request that was assigned, and a value of the metric.
#[derive(Clone, Debug, PartialEq)]
pub struct AssignedRequest {
    /// The arm that it was assigned to.
    pub arm: String,
    /// Its unit.
    pub unit: String,
    /// The request.
    pub request_id: String,
    /// When it was assigned, in microseconds since 1970.
    pub assigned_us: i64,
    /// The value of the metric; `None` if there is none. If there are several sources, the request
    /// comes once for each.
    pub value: Option<f64>,
    /// The source of the value.
    pub source: Option<String>,
}

/// An attempt at a request that was assigned.
#[derive(Clone, Debug, PartialEq)]
pub struct AssignedAttempt {
    /// The arm that the request was assigned to.
    pub arm: String,
    /// The request's unit.
    pub unit: String,
    /// The request.
    pub request_id: String,
    /// The arm that served this attempt.
    pub served_arm: String,
    /// What the attempt was for.
    pub role: Role,
    /// How it ended.
    pub outcome: Outcome,
    /// Tokens of the prompt, including cached ones.
    pub input_tokens: u64,
    /// The part of `input_tokens` that was cached.
    pub cached_tokens: u64,
    /// Tokens generated.
    pub output_tokens: u64,
    /// The time on our own device.
    pub device_time: Picoseconds,
    /// The price of that device, if known.
    pub price: Option<HourlyPrice>,
    /// From arrival to the first token.
    pub ttft: Option<Duration>,
    /// The adapter's name.
    pub adapter: Option<String>,
    /// How the vendor's bill is known; `None` if our own engine answered.
    pub basis: Option<ChargeBasis>,
    /// The vendor's bill in US dollars, if it is known.
    pub billed_usd: Option<Decimal>,
}

impl ExperimentRows {
    pub(crate) fn arms(&self, store: &mut dyn Store) -> Result<Vec<AssignedTo>, LedgerError> {
        let sql = format!(
            "SELECT arm, COUNT(*), MIN(assigned_us), MAX(assigned_us) FROM assignments \
             WHERE experiment = $1 AND assigned_us >= {} AND assigned_us < {} \
             GROUP BY arm ORDER BY {}",
            self.from_us,
            self.until_us,
            byte_order(store, &["arm"]),
        );
        let mut arms = Vec::new();
        store.query(&sql, std::slice::from_ref(&self.experiment), &mut |row| {
            arms.push(AssignedTo {
                arm: text(row, 0)?,
                requests: row.integer(1)?.max(0) as u64,
                first_us: row.integer(2)?,
                last_us: row.integer(3)?,
            });
            Ok(())
        })?;
        Ok(arms)
    }

    pub(crate) fn requests(
        &self,
        store: &mut dyn Store,
        metric: &str,
        each: &mut dyn FnMut(AssignedRequest),
    ) -> Result<(), LedgerError> {
        let sql = format!(
            "SELECT arm, unit, assignments.request_id, assigned_us, value, source \
             FROM assignments LEFT JOIN feedback \
             ON feedback.request_id = assignments.request_id AND metric = $1 \
             WHERE experiment = $2 AND assigned_us >= {} AND assigned_us < {} ORDER BY {}",
            self.from_us,
            self.until_us,
            byte_order(store, &["arm", "unit", "assignments.request_id", "source"]),
        );
        let params = [metric.to_owned(), self.experiment.clone()];
        store.query(&sql, &params, &mut |row| {
            each(AssignedRequest {
                arm: text(row, 0)?,
                unit: text(row, 1)?,
                request_id: text(row, 2)?,
                assigned_us: row.integer(3)?,
                value: row.real(4)?,
                source: row.text(5)?,
            });
            Ok(())
        })
    }

    pub(crate) fn attempts(
        &self,
        store: &mut dyn Store,
        each: &mut dyn FnMut(AssignedAttempt),
    ) -> Result<(), LedgerError> {
        let runs = Runs::load(store)?;
        let sql = format!(
            "SELECT assigned_arm, unit, request_id, arm, role, outcome, input_tokens, \
             cached_tokens, output_tokens, device_ps, run, ttft_seconds, adapter, basis, \
             COALESCE(billed_nanos, 0), COALESCE(billed_attos, 0) \
             FROM attempts WHERE experiment = $1 AND started_us >= {} AND started_us < {} \
             ORDER BY {}, attempt",
            self.from_us,
            self.until_us,
            byte_order(store, &["assigned_arm", "unit", "request_id"]),
        );
        store.query(&sql, std::slice::from_ref(&self.experiment), &mut |row| {
            let count = |column| Ok::<_, LedgerError>(row.integer(column)?.max(0) as u64);
            let basis = row.text(13)?;
            let basis = basis.map(|basis| named(&basis, ChargeBasis::ALL, ChargeBasis::as_str));
            let basis = basis.transpose()?;
            let is_known = basis.is_some_and(|basis| basis != ChargeBasis::Unknown);
            let ttft = row.real(11)?;
            each(AssignedAttempt {
                arm: text(row, 0)?,
                unit: text(row, 1)?,
                request_id: text(row, 2)?,
                served_arm: text(row, 3)?,
                role: named(&text(row, 4)?, Role::ALL, Role::as_str)?,
                outcome: named(&text(row, 5)?, Outcome::ALL, Outcome::as_str)?,
                input_tokens: count(6)?,
                cached_tokens: count(7)?,
                output_tokens: count(8)?,
                device_time: Picoseconds::new(row.integer(9)?.into()),
                price: runs.price(row.integer(10)?),
                ttft: ttft.and_then(|ttft| Duration::try_from_secs_f64(ttft).ok()),
                adapter: row.text(12)?,
                basis,
                billed_usd: is_known.then_some(read_bill(row, 14)?.usd()),
            });
            Ok(())
        })
    }
}

/// The columns in the order of their bytes, as Rust compares strings.
fn byte_order(store: &dyn Store, columns: &[&str]) -> String {
    let collation = store.byte_collation();
    let columns = columns.iter().map(|column| format!("{column}{collation}"));
    columns.collect::<Vec<_>>().join(", ")
}

fn text(row: &dyn Row, column: usize) -> Result<String, LedgerError> {
    Ok(row.text(column)?.unwrap_or_default())
}

fn named<T: Copy, const N: usize>(
    name: &str,
    all: [T; N],
    as_str: fn(T) -> &'static str,
) -> Result<T, LedgerError> {
    all.into_iter()
        .find(|known| as_str(*known) == name)
        .ok_or_else(|| LedgerError::Corrupt(format!("the name {name:?}")))
}
