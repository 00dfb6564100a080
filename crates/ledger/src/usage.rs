//! What requests took, added up.

use std::ops::AddAssign;

use farthing_economics::HourlyPrice;
use rust_decimal::Decimal;

use crate::picoseconds::sum_sql;
use crate::runs::Runs;
use crate::store::{Row, Store};
use crate::window::MICROS;
use crate::{LedgerError, Outcome, Picoseconds, Window};

/// What sums are told apart by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GroupBy {
    /// The name that requests asked for.
    pub model: bool,
    /// The adapter.
    pub adapter: bool,
    /// The API key's name, or else the request's `user`.
    pub tenant: bool,
    /// The request's `user`.
    pub user: bool,
    /// The API key's name.
    pub api_key: bool,
}

/// One group; none where it is not grouped by that, or the requests had none.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GroupKey {
    /// The name that requests asked for.
    pub model: Option<String>,
    /// The adapter.
    pub adapter: Option<String>,
    /// The API key's name, or else the request's `user`.
    pub tenant: Option<String>,
    /// The request's `user`.
    pub user: Option<String>,
    /// The API key's name.
    pub api_key: Option<String>,
}

/// Which requests count. An empty list leaves all of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Names that requests asked for.
    pub models: Vec<String>,
    /// Adapters.
    pub adapters: Vec<String>,
    /// API keys' names, or else requests' `user`.
    pub tenants: Vec<String>,
    /// Requests' `user`.
    pub users: Vec<String>,
    /// API keys' names.
    pub api_keys: Vec<String>,
}

/// What a group of requests took.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Usage {
    /// Attempts.
    pub requests: u64,
    /// Tokens of prompts, those from the cache included.
    pub input_tokens: u64,
    /// Of them from the prefix cache.
    pub cached_tokens: u64,
    /// Tokens generated.
    pub output_tokens: u64,
    /// The device's time and what it cost.
    pub device: Charge,
    /// Of it for input tokens that were computed.
    pub input: Charge,
    /// Of it for input tokens from the cache.
    pub cached: Charge,
    /// Of it for output tokens.
    pub output: Charge,
}

/// Device time and what it cost.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Charge {
    /// The time.
    pub time: Picoseconds,
    /// Its cost in US dollars; none where some of it has no price.
    pub usd: Option<Decimal>,
}

/// Sums of one run, as they stand in the database.
pub(crate) struct RunUsage {
    pub run: i64,
    /// Which stretch of the window, from 0.
    pub stretch: i64,
    pub outcome: Outcome,
    pub key: GroupKey,
    pub usage: Usage,
}

impl Filter {
    /// Whether everything passes.
    pub fn is_empty(&self) -> bool {
        self.columns().iter().all(|(_, values)| values.is_empty())
    }

    fn columns(&self) -> [(&'static str, &Vec<String>); 5] {
        [
            (MODEL, &self.models),
            (ADAPTER, &self.adapters),
            (TENANT, &self.tenants),
            (USER, &self.users),
            (API_KEY, &self.api_keys),
        ]
    }
}

impl Default for Charge {
    fn default() -> Self {
        Self {
            time: Picoseconds::default(),
            usd: Some(Decimal::ZERO),
        }
    }
}

impl Charge {
    pub(crate) fn new(time: Picoseconds, price: Option<HourlyPrice>) -> Self {
        Self {
            time,
            usd: price.map(|price| time.usd(price)),
        }
    }
}

impl AddAssign for Charge {
    fn add_assign(&mut self, other: Self) {
        self.time += other.time;
        self.usd = self.usd.zip(other.usd).map(|(usd, other)| usd + other);
    }
}

impl Usage {
    /// What of the device's time is told for no kind of token.
    pub fn unsplit(&self) -> Charge {
        let mut split = self.input;
        split += self.cached;
        split += self.output;
        Charge {
            time: self.device.time - split.time,
            usd: self
                .device
                .usd
                .zip(split.usd)
                .map(|(all, split)| all - split),
        }
    }
}

impl AddAssign<&Usage> for Usage {
    fn add_assign(&mut self, other: &Self) {
        self.requests += other.requests;
        self.input_tokens += other.input_tokens;
        self.cached_tokens += other.cached_tokens;
        self.output_tokens += other.output_tokens;
        self.device += other.device;
        self.input += other.input;
        self.cached += other.cached;
        self.output += other.output;
    }
}

const MODEL: &str = "model";
const ADAPTER: &str = "adapter";
const TENANT: &str = "COALESCE(api_key, user_id)";
const USER: &str = "user_id";
const API_KEY: &str = "api_key";

/// The window's usage, by stretches of `stretch_s` seconds from its start.
pub(crate) fn query(
    store: &mut dyn Store,
    window: Window,
    stretch_s: i64,
    group_by: GroupBy,
    filter: &Filter,
    runs: &Runs,
) -> Result<Vec<RunUsage>, LedgerError> {
    let (sql, params) = statement(window, stretch_s, group_by, filter);
    let mut sums = Vec::new();
    store.query(&sql, &params, &mut |row| {
        sums.push(read(row, runs)?);
        Ok(())
    })?;
    Ok(sums)
}

fn statement(
    window: Window,
    stretch_s: i64,
    group_by: GroupBy,
    filter: &Filter,
) -> (String, Vec<String>) {
    let groups = [
        (group_by.model, MODEL),
        (group_by.adapter, ADAPTER),
        (group_by.tenant, TENANT),
        (group_by.user, USER),
        (group_by.api_key, API_KEY),
    ];
    let keys = groups.map(|(wanted, column)| match wanted {
        true => column,
        false => "CAST(NULL AS TEXT)",
    });
    let by: Vec<_> = groups
        .iter()
        .filter_map(|&(wanted, column)| wanted.then_some(column))
        .map(|column| format!(", {column}"))
        .collect();
    let (start_us, end_us) = (window.start_us(), window.end_us());
    let stretch_us = stretch_s * MICROS;
    let mut sql = format!(
        "SELECT run, (ended_us - {start_us}) / {stretch_us} AS stretch, outcome, {}, COUNT(*), \
         CAST(SUM(input_tokens) AS BIGINT), CAST(SUM(cached_tokens) AS BIGINT), \
         CAST(SUM(output_tokens) AS BIGINT), {}, {}, {}, {} FROM attempts \
         WHERE ended_us >= {start_us} AND ended_us < {end_us}",
        keys.join(", "),
        sum_sql("device_ps"),
        sum_sql("input_ps"),
        sum_sql("cached_ps"),
        sum_sql("output_ps"),
    );
    let mut params = Vec::new();
    for (column, values) in filter.columns() {
        if values.is_empty() {
            continue;
        }
        let first = params.len() + 1;
        let places: Vec<_> = (first..first + values.len())
            .map(|place| format!("${place}"))
            .collect();
        sql += &format!(" AND {column} IN ({})", places.join(", "));
        params.extend(values.iter().cloned());
    }
    sql += &format!(" GROUP BY run, stretch, outcome{}", by.concat());
    (sql, params)
}

fn read(row: &dyn Row, runs: &Runs) -> Result<RunUsage, LedgerError> {
    let run = row.integer(0)?;
    let price = runs.price(run);
    let outcome = row.text(2)?.unwrap_or_default();
    let outcome = Outcome::ALL
        .into_iter()
        .find(|known| known.as_str() == outcome)
        .ok_or_else(|| LedgerError::Corrupt(format!("the outcome {outcome:?}")))?;
    let count = |column| Ok::<_, LedgerError>(row.integer(column)?.max(0) as u64);
    let charge = |column| {
        let time = Picoseconds::read_sum(row, column)?;
        Ok::<_, LedgerError>(Charge::new(time, price))
    };
    Ok(RunUsage {
        run,
        stretch: row.integer(1)?,
        outcome,
        key: GroupKey {
            model: row.text(3)?,
            adapter: row.text(4)?,
            tenant: row.text(5)?,
            user: row.text(6)?,
            api_key: row.text(7)?,
        },
        usage: Usage {
            requests: count(8)?,
            input_tokens: count(9)?,
            cached_tokens: count(10)?,
            output_tokens: count(11)?,
            device: charge(12)?,
            input: charge(14)?,
            cached: charge(16)?,
            output: charge(18)?,
        },
    })
}
