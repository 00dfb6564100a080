//! The cost of the same traffic at a vendor's API and on own GPUs.

mod claims;
mod thresholds;

use rust_decimal::Decimal;
use serde::Serialize;

use crate::decimal_text::{exact, exact_or_null};
use crate::workload::{DAYS_PER_MONTH, MILLION};
use crate::{FleetInputs, GpuCapacity, OwnBill, Rates, TcoError, Workload};

pub use claims::{Claim, Holds};
pub use thresholds::{SavingVolumes, Thresholds, Volume};

/// The inputs. Those that the wanted figures do not need may be missing.
#[derive(Clone, Debug)]
pub struct TcoInputs {
    /// The traffic.
    pub workload: Workload,
    /// The API's rates.
    pub rates: Rates,
    /// The own fleet.
    pub fleet: FleetInputs,
    /// Monthly bills in US dollars, for which to compute the blended price.
    pub bills_usd: Vec<Decimal>,
}

/// All figures; `None` if an input is missing.
#[derive(Clone, Debug, Serialize)]
pub struct Tco {
    /// As given.
    pub workload: Workload,
    /// Millions of tokens per month of 30 days.
    #[serde(serialize_with = "exact_or_null")]
    pub million_tokens_per_month: Option<Decimal>,
    /// The cost at the API.
    pub api: Option<ApiBill>,
    /// The given bills, and the blended price of each at this traffic.
    pub blended_price_needed: Vec<BlendedPriceNeeded>,
    /// The capacity of one GPU.
    pub capacity: Option<GpuCapacity>,
    /// The cost of the own fleet.
    pub own: Option<OwnBill>,
    /// The saving of the own fleet.
    pub saving: Option<Saving>,
    /// The traffic from which on it saves a given share.
    pub thresholds: Option<Thresholds>,
    /// The claims of the article, checked against these figures.
    pub claims: Vec<Claim>,
}

/// The cost at an API.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct ApiBill {
    /// US dollars per million tokens of this mix.
    #[serde(serialize_with = "exact")]
    pub blended_usd_per_million: Decimal,
    /// US dollars per month.
    #[serde(serialize_with = "exact_or_null")]
    pub usd_per_month: Option<Decimal>,
    /// US dollars per month if every token were of the cheapest class.
    #[serde(serialize_with = "exact_or_null")]
    pub lowest_usd_per_month_at_any_mix: Option<Decimal>,
    /// US dollars per month if every token were of the most expensive class.
    #[serde(serialize_with = "exact_or_null")]
    pub highest_usd_per_month_at_any_mix: Option<Decimal>,
}

/// A bill, and the price that results in it.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct BlendedPriceNeeded {
    /// US dollars per month.
    #[serde(serialize_with = "exact")]
    pub usd_per_month: Decimal,
    /// US dollars per million tokens.
    #[serde(serialize_with = "exact")]
    pub usd_per_million: Decimal,
}

/// The saving of an own fleet; negative if it costs more.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Saving {
    /// As a share of the API's bill: 0.4 is 40 %. `None` if that bill is zero.
    #[serde(serialize_with = "exact_or_null")]
    pub share: Option<Decimal>,
    /// US dollars per month.
    #[serde(serialize_with = "exact")]
    pub usd_per_month: Decimal,
}

impl Tco {
    /// Computes everything that the inputs allow.
    ///
    /// # Errors
    /// A figure is out of its range, or a requested figure lacks an input.
    pub fn new(inputs: &TcoInputs) -> Result<Self, TcoError> {
        inputs.check()?;
        let api = ApiBill::new(inputs)?;
        let own = OwnBill::new(&inputs.fleet, &inputs.workload)?;
        let saving = match (api.and_then(|api| api.usd_per_month), own) {
            (Some(api_usd), Some(own)) => Some(Saving::new(api_usd, own.usd_per_month)?),
            _ => None,
        };
        let thresholds = match (api, own) {
            (Some(api), Some(own)) => Thresholds::new(inputs, api.blended_usd_per_million, &own),
            _ => None,
        };
        let mut tco = Self {
            workload: inputs.workload,
            million_tokens_per_month: inputs.workload.millions_per_month(),
            api,
            blended_price_needed: inputs.blended_prices_needed(),
            capacity: inputs.fleet.capacity()?,
            own,
            saving,
            thresholds,
            claims: Vec::new(),
        };
        tco.claims = claims::hold(inputs, &tco);
        Ok(tco)
    }
}

impl TcoInputs {
    fn check(&self) -> Result<(), TcoError> {
        const SHARE: (&str, i64, i64) = ("between 0 and 1", 0, 1);
        const USD: (&str, i64, i64) = ("between 0 and 1000000000", 0, 1_000_000_000);
        const TOKENS: (&str, i64, i64) =
            ("between 0 and 1000000000000000", 0, 1_000_000_000_000_000);
        let Self {
            workload,
            rates,
            fleet,
            ..
        } = self;
        let mut figures = vec![
            ("the input share", Some(workload.input_share), SHARE),
            ("the cached share", Some(workload.cached_share), SHARE),
            (
                "the batch factor",
                Some(workload.batch_factor),
                ("between 0 and 10", 0, 10),
            ),
            ("tokens per day", workload.tokens_per_day, TOKENS),
            (
                "the fixed cost per month",
                Some(fleet.fixed_usd_per_month),
                USD,
            ),
            (
                "tokens per day inside the SLO",
                fleet.slo_tokens_per_day,
                TOKENS,
            ),
            (
                "peak to mean",
                Some(fleet.peak_to_mean),
                ("between 1 and 1000", 1, 1000),
            ),
            (
                "the number of GPUs",
                fleet.gpus.map(Decimal::from),
                ("at most 1000000", 0, 1_000_000),
            ),
            (
                "redundancy",
                Some(fleet.redundancy.into()),
                ("at most 1000000", 0, 1_000_000),
            ),
        ];
        let prices = [rates.input, rates.cached_input, rates.output];
        figures.extend(prices.map(|price| {
            (
                "a price per million tokens",
                price,
                ("between 0 and 1000000", 0, 1_000_000),
            )
        }));
        figures.extend(
            self.bills_usd
                .iter()
                .map(|bill| ("a bill per month", Some(*bill), USD)),
        );
        for (what, value, (range, lowest, highest)) in figures {
            if let Some(value) = value
                && !(Decimal::from(lowest)..=Decimal::from(highest)).contains(&value)
            {
                return Err(TcoError::OutOfRange { what, range, value });
            }
        }
        match fleet.slo_tokens_per_day {
            Some(value) if value.is_zero() => Err(TcoError::OutOfRange {
                what: "tokens per day inside the SLO",
                range: "above 0",
                value,
            }),
            _ => Ok(()),
        }
    }

    fn blended_prices_needed(&self) -> Vec<BlendedPriceNeeded> {
        let millions = self.workload.millions_per_month();
        let needed = self.bills_usd.iter().filter_map(|usd_per_month| {
            Some(BlendedPriceNeeded {
                usd_per_month: *usd_per_month,
                usd_per_million: usd_per_month.checked_div(millions?)?,
            })
        });
        needed.collect()
    }
}

impl ApiBill {
    fn new(inputs: &TcoInputs) -> Result<Option<Self>, TcoError> {
        let rates = &inputs.rates;
        let known = [rates.input, rates.cached_input, rates.output];
        let known = known.into_iter().flatten();
        let Some(lowest) = known.clone().min() else {
            return Ok(None);
        };
        let highest = known.max().unwrap_or(lowest);
        let blended = inputs.workload.blended_usd_per_million(rates)?;
        let factor = inputs.workload.batch_factor;
        let millions = inputs.workload.millions_per_month();
        let bill = |usd_per_million: Decimal| {
            let bill = millions.map(|millions| millions.checked_mul(usd_per_million));
            bill.map(|bill| bill.ok_or(TcoError::Overflow)).transpose()
        };
        Ok(Some(Self {
            blended_usd_per_million: blended,
            usd_per_month: bill(blended)?,
            lowest_usd_per_month_at_any_mix: bill(lowest * factor)?,
            highest_usd_per_month_at_any_mix: bill(highest * factor)?,
        }))
    }
}

impl Saving {
    pub(crate) fn new(api_usd: Decimal, own_usd: Decimal) -> Result<Self, TcoError> {
        let share = if api_usd.is_zero() {
            None
        } else {
            let share = own_usd.checked_div(api_usd).ok_or(TcoError::Overflow)?;
            Some(Decimal::ONE - share)
        };
        Ok(Self {
            share,
            usd_per_month: api_usd - own_usd,
        })
    }
}

/// US dollars per month for one token per day at this blended price.
fn usd_per_month_of_a_daily_token(blended_usd_per_million: Decimal) -> Option<Decimal> {
    blended_usd_per_million
        .checked_mul(DAYS_PER_MONTH)?
        .checked_div(MILLION)
}
