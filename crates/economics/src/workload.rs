//! The traffic to compute costs for.

use rust_decimal::Decimal;
use serde::Serialize;

use crate::decimal_text::{exact, exact_or_null};
use crate::{Rates, TcoError, TokenClass};

/// Days per month, for numbers of tokens.
pub const DAYS_PER_MONTH: Decimal = Decimal::from_parts(30, 0, 0, false, 0);

/// The number and mix of tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Workload {
    /// Prompt and answer tokens together.
    #[serde(serialize_with = "exact_or_null")]
    pub tokens_per_day: Option<Decimal>,
    /// Prompt tokens as a share of all tokens; 0 to 1.
    #[serde(serialize_with = "exact")]
    pub input_share: Decimal,
    /// Cached tokens as a share of the prompt tokens; 0 to 1.
    #[serde(serialize_with = "exact")]
    pub cached_share: Decimal,
    /// Factor on the list price: 1, or 0.5 for batches at half the price.
    #[serde(serialize_with = "exact")]
    pub batch_factor: Decimal,
}

impl Workload {
    /// US dollars per million tokens of this mix: `b(x((1−h)·p_in + h·p_cached) + (1−x)·p_out)`.
    ///
    /// # Errors
    /// The mix has tokens of a class without a rate.
    pub fn blended_usd_per_million(&self, rates: &Rates) -> Result<Decimal, TcoError> {
        let cached = self.input_share * self.cached_share;
        let shares = [
            (TokenClass::Input, self.input_share - cached),
            (TokenClass::CachedInput, cached),
            (TokenClass::Output, Decimal::ONE - self.input_share),
        ];
        let mut blended = Decimal::ZERO;
        for (class, share) in shares.into_iter().filter(|(_, share)| !share.is_zero()) {
            let rate = rates.of(class).ok_or(TcoError::MissingRate(class))?;
            blended += share * rate;
        }
        Ok(blended * self.batch_factor)
    }

    /// Millions of tokens per month of 30 days.
    pub fn millions_per_month(&self) -> Option<Decimal> {
        Some(self.tokens_per_day? * DAYS_PER_MONTH / MILLION)
    }
}

/// Prices are per million tokens.
pub(crate) const MILLION: Decimal = Decimal::from_parts(1_000_000, 0, 0, false, 0);
