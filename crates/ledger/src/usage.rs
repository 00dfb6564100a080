//! Sums of what requests used.

use std::ops::{AddAssign, Range};

use farthing_economics::HourlyPrice;
use rust_decimal::Decimal;

use crate::picosecond_sum::{read_sum, sum_sql};
use crate::runs::Runs;
use crate::store::{Row, Store};
use crate::window::MICROS;
use crate::{LedgerError, Outcome, Picoseconds, Window};

/// The fields by which sums are grouped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GroupBy {
    /// The model name in the request.
    pub model: bool,
    /// The adapter.
    pub adapter: bool,
    /// The tenant of the API key, or the request's `user` if there is no key.
    pub tenant: bool,
    /// The request's `user`.
    pub user: bool,
    /// The API key's name.
    pub api_key: bool,
}

/// One group. A field is `None` if it is not grouped by, or the requests had no value.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GroupKey {
    /// The model name in the request.
    pub model: Option<String>,
    /// The adapter.
    pub adapter: Option<String>,
    /// The tenant of the API key, or the request's `user` if there is no key.
    pub tenant: Option<String>,
    /// The request's `user`.
    pub user: Option<String>,
    /// The API key's name.
    pub api_key: Option<String>,
}

/// Selects requests. An empty list selects all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Model names in requests.
    pub models: Vec<String>,
    /// Adapters.
    pub adapters: Vec<String>,
    /// Tenants of API keys, or `user` of requests without a key.
    pub tenants: Vec<String>,
    /// Requests' `user`.
    pub users: Vec<String>,
    /// API keys' names.
    pub api_keys: Vec<String>,
}

/// What a group of requests used.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Usage {
    /// Attempts.
    pub requests: u64,
    /// Tokens of prompts, including cached ones.
    pub input_tokens: u64,
    /// The part of `input_tokens` from the prefix cache.
    pub cached_tokens: u64,
    /// Tokens generated.
    pub output_tokens: u64,
    /// Device time and its cost.
    pub device: Charge,
    /// The part for computed input tokens.
    pub input: Charge,
    /// The part for cached input tokens.
    pub cached: Charge,
    /// The part for output tokens.
    pub output: Charge,
}

/// Device time and its cost.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Charge {
    /// The time.
    pub time: Picoseconds,
    /// The cost in US dollars; `None` if some of the time has no price.
    pub usd: Option<Decimal>,
}

/// Sums of one run.
pub(crate) struct RunUsage {
    pub run: i64,
    /// Index of the period in the window.
    pub stretch: i64,
    pub outcome: Outcome,
    pub key: GroupKey,
    pub usage: Usage,
}

impl Filter {
    /// Whether all requests are selected.
    pub fn is_empty(&self) -> bool {
        self.lists().iter().all(|values| values.is_empty())
    }

    /// In the order of [`GroupBy`]'s fields.
    fn lists(&self) -> [&Vec<String>; 5] {
        [
            &self.models,
            &self.adapters,
            &self.tenants,
            &self.users,
            &self.api_keys,
        ]
    }
}

impl GroupBy {
    fn wanted(self) -> [bool; 5] {
        [
            self.model,
            self.adapter,
            self.tenant,
            self.user,
            self.api_key,
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
    /// Device time that is not attributed to a class of token.
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

/// Usage in the window, by periods of `stretch_s` seconds from its start.
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
    let stretch_us = stretch_s * MICROS;
    let start_us = window.start_us();
    let mut params = Vec::new();
    let lists = filter.lists().map(|values| {
        let first = params.len() + 1;
        params.extend(values.iter().cloned());
        let places = (first..=params.len()).map(|place| format!("${place}"));
        places.collect::<Vec<_>>().join(", ")
    });
    let selects = Source::all(window, stretch_s).into_iter().map(|source| {
        let columns = source.group_columns();
        let keys: Vec<_> = columns
            .iter()
            .zip(group_by.wanted())
            .map(|(column, is_wanted)| {
                if is_wanted {
                    *column
                } else {
                    "CAST(NULL AS TEXT)"
                }
            })
            .collect();
        let by: String = columns
            .iter()
            .zip(group_by.wanted())
            .filter(|(_, is_wanted)| *is_wanted)
            .map(|(column, _)| format!(", {column}"))
            .collect();
        let filters: String = columns
            .iter()
            .zip(&lists)
            .filter(|(_, list)| !list.is_empty())
            .map(|(column, list)| format!(" AND {column} IN ({list})"))
            .collect();
        format!(
            "SELECT run, ({} - {start_us}) / {stretch_us} AS stretch, outcome, {}, {} FROM {} \
             WHERE {}{filters} GROUP BY run, stretch, outcome{by}",
            source.moment_us(),
            keys.join(", "),
            source.sums(),
            source.table(),
            source.range(),
        )
    });
    let selects: Vec<_> = selects.collect();
    (selects.join(" UNION ALL "), params)
}

/// The tables that sums are read from.
enum Source {
    /// Rows that ended in this range of microseconds.
    Rows(Range<i64>),
    /// Daily sums of this range of days.
    Days(Range<i64>),
}

const DAY_S: i64 = 86_400;
const DAY_US: i64 = DAY_S * MICROS;

impl Source {
    /// Daily sums for whole days within a period, and rows for the rest.
    fn all(window: Window, stretch_s: i64) -> Vec<Self> {
        let (start, end) = (window.start(), window.end());
        let days = start.div_euclid(DAY_S) + i64::from(start % DAY_S != 0)..end / DAY_S;
        let is_one_stretch = stretch_s >= end - start;
        let are_stretches_of_days = start % DAY_S == 0 && stretch_s % DAY_S == 0;
        if days.is_empty() || !(is_one_stretch || are_stretches_of_days) {
            return vec![Self::Rows(window.start_us()..window.end_us())];
        }
        let before = window.start_us()..days.start * DAY_US;
        let after = days.end * DAY_US..window.end_us();
        let rows = [before, after].into_iter().filter(|it| !it.is_empty());
        rows.map(Self::Rows).chain([Self::Days(days)]).collect()
    }

    /// The SQL expression of each of [`GroupBy`]'s fields.
    fn group_columns(&self) -> [&'static str; 5] {
        match self {
            Self::Rows(_) => [
                "model",
                "adapter",
                "COALESCE(tenant, api_key, user_id)",
                "user_id",
                "api_key",
            ],
            Self::Days(_) => [
                "model",
                "NULLIF(adapter, '')",
                "COALESCE(NULLIF(tenant, ''), NULLIF(api_key, ''), NULLIF(user_id, ''))",
                "NULLIF(user_id, '')",
                "NULLIF(api_key, '')",
            ],
        }
    }

    fn table(&self) -> &'static str {
        match self {
            Self::Rows(_) => "attempts",
            Self::Days(_) => "attempt_days",
        }
    }

    fn moment_us(&self) -> String {
        match self {
            Self::Rows(_) => "ended_us".to_owned(),
            Self::Days(_) => format!("day * {DAY_US}"),
        }
    }

    fn range(&self) -> String {
        match self {
            Self::Rows(Range { start, end }) => format!("ended_us >= {start} AND ended_us < {end}"),
            Self::Days(Range { start, end }) => format!("day >= {start} AND day < {end}"),
        }
    }

    /// SQL for requests, tokens, and the four times in the form of [`read_sum`].
    fn sums(&self) -> String {
        let sum = |column: &str| format!("CAST(SUM({column}) AS BIGINT)");
        let tokens = ["input_tokens", "cached_tokens", "output_tokens"].map(sum);
        let (requests, times) = match self {
            Self::Rows(_) => (
                "COUNT(*)".to_owned(),
                ["device_ps", "input_ps", "cached_ps", "output_ps"].map(sum_sql),
            ),
            Self::Days(_) => {
                let both = |kind: &str| {
                    let (high, low) = (sum(&format!("{kind}_ms")), sum(&format!("{kind}_ps")));
                    format!("{high}, {low}")
                };
                let times = ["device", "input", "cached", "output"].map(both);
                (sum("requests"), times)
            }
        };
        format!("{requests}, {}, {}", tokens.join(", "), times.join(", "))
    }
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
        let time = read_sum(row, column)?;
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
