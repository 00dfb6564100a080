//! The traffic that is to be paid for.

use rust_decimal::Decimal;
use serde::Serialize;

use crate::decimal_text::{exact, exact_or_null};
use crate::{Rates, TcoError, TokenClass};

/// Days of a month, as far as tokens are concerned.
pub const DAYS_PER_MONTH: Decimal = Decimal::from_parts(30, 0, 0, false, 0);

/// Tokens of a steady traffic and their mix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Workload {
    /// Prompts and answers together.
    #[serde(serialize_with = "exact_or_null")]
    pub tokens_per_day: Option<Decimal>,
    /// Which part of all tokens is of prompts; 0 to 1.
    #[serde(serialize_with = "exact")]
    pub input_share: Decimal,
    /// Which part of the prompt tokens comes from the vendor's cache; 0 to 1.
    #[serde(serialize_with = "exact")]
    pub cached_share: Decimal,
    /// What the list price is multiplied by: 1, or 0.5 for batches at half the price.
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

    /// Millions of tokens a month, of 30 days.
    pub fn millions_per_month(&self) -> Option<Decimal> {
        Some(self.tokens_per_day? * DAYS_PER_MONTH / MILLION)
    }
}

/// Tokens that prices are told for.
pub(crate) const MILLION: Decimal = Decimal::from_parts(1_000_000, 0, 0, false, 0);
