//! Sums of what requests used.

mod source;

use std::ops::AddAssign;

use farthing_economics::HourlyPrice;
use rust_decimal::Decimal;

use self::source::Source;
use crate::bill_columns::read_bill;
use crate::picosecond_sum::read_sum;
use crate::runs::Runs;
use crate::store::{Row, Store};
use crate::window::MICROS;
use crate::{LedgerError, Outcome, Picoseconds, VendorBills, Window};

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
    /// The experiment that pays for shadows, judges and replays, or their route if there is none.
    /// They have no tenant, user or key.
    pub experiment: Option<String>,
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
    /// The bills of vendors.
    pub vendor: VendorBills,
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
    /// The vendor and the model that served; `None` if our own engine answered.
    pub vendor: Option<(String, String)>,
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
        self.vendor += other.vendor;
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
        let [booked_to, vendor, vendor_model] = source.vendor_columns();
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
            "SELECT run, ({} - {start_us}) / {stretch_us} AS stretch, outcome, {}, {booked_to}, \
             {vendor}, {vendor_model}, {} FROM {} WHERE {}{filters} \
             GROUP BY run, stretch, outcome, {booked_to}, {vendor}, {vendor_model}{by}",
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
            experiment: row.text(8)?,
        },
        vendor: row.text(9)?.zip(row.text(10)?),
        usage: Usage {
            requests: count(11)?,
            input_tokens: count(12)?,
            cached_tokens: count(13)?,
            output_tokens: count(14)?,
            device: charge(15)?,
            input: charge(17)?,
            cached: charge(19)?,
            output: charge(21)?,
            vendor: VendorBills {
                attempts: count(23)?,
                estimated: count(24)?,
                unknown: count(25)?,
                usd: read_bill(row, 26)?.usd(),
            },
        },
    })
}
