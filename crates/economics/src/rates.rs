//! Rates of a vendor by token class, and the cost of a request.

mod json;
mod litellm;

use rust_decimal::Decimal;
use serde::{Deserialize, Serialize};

use crate::decimal_text::{exact, exact_or_null, read_text};
use crate::{TokenClass, Usage};

pub use json::RatesJsonError;

/// US dollars per million tokens of each class. `None` is unknown. A zero in a price list is
/// unknown too, never free.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Rates {
    /// Prompt tokens that are computed.
    #[serde(serialize_with = "exact_or_null", deserialize_with = "known")]
    pub input: Option<Decimal>,
    /// Prompt tokens read from the cache.
    #[serde(serialize_with = "exact_or_null", deserialize_with = "known")]
    pub cached_input: Option<Decimal>,
    /// Prompt tokens written to the cache.
    #[serde(serialize_with = "exact_or_null", deserialize_with = "known")]
    pub cache_write: Option<Decimal>,
    /// Prompt tokens written to the cache for an hour.
    #[serde(serialize_with = "exact_or_null", deserialize_with = "known")]
    pub cache_write_hour: Option<Decimal>,
    /// Answer tokens.
    #[serde(serialize_with = "exact_or_null", deserialize_with = "known")]
    pub output: Option<Decimal>,
}

/// The rates of a model, with those for long prompts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RateCard {
    /// For prompts below the first tier.
    pub rates: Rates,
    /// In ascending order of prompt length.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tiers: Vec<Tier>,
}

/// Rates for all tokens of a request whose prompt is longer than a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tier {
    /// Prompt tokens, cached ones included, above which the tier begins.
    pub above_prompt_tokens: u64,
    /// Rates that are `None` are those of the tier below.
    pub rates: Rates,
}

/// The cost of a request by token class.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RequestCost {
    /// US dollars; the sum of the lines.
    #[serde(serialize_with = "exact")]
    pub usd: Decimal,
    /// Classes without tokens are left out.
    pub lines: Vec<CostLine>,
}

/// The tokens of one class and their cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct CostLine {
    /// The class.
    pub class: TokenClass,
    /// The number of tokens.
    pub tokens: u64,
    /// US dollars per million.
    #[serde(serialize_with = "exact")]
    pub usd_per_million: Decimal,
    /// US dollars for all of them.
    #[serde(serialize_with = "exact")]
    pub usd: Decimal,
}

/// Why the cost of a request is unknown.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RatesError {
    /// There are tokens of a class without a rate.
    #[error("{tokens} tokens of {class} have no known rate (a rate of zero counts as unknown)")]
    Unknown {
        /// The class.
        class: TokenClass,
        /// The number of its tokens.
        tokens: u64,
    },
    /// The amount of money is above the range of a decimal.
    #[error("the cost is out of range")]
    OutOfRange,
}

/// Rates above this are taken for a mistake in the unit.
const HIGHEST: Decimal = Decimal::from_parts(1_000_000, 0, 0, false, 0);

/// A price per million, divided by this, is a price per token.
const TOKEN: Decimal = Decimal::from_parts(1, 0, 0, false, 6);

impl Rates {
    /// The rate of a class.
    pub fn of(&self, class: TokenClass) -> Option<Decimal> {
        match class {
            TokenClass::Input => self.input,
            TokenClass::CachedInput => self.cached_input,
            TokenClass::CacheWrite => self.cache_write,
            TokenClass::CacheWriteHour => self.cache_write_hour,
            TokenClass::Output => self.output,
        }
    }

    /// Mutable access to the rate of a class.
    pub fn of_mut(&mut self, class: TokenClass) -> &mut Option<Decimal> {
        match class {
            TokenClass::Input => &mut self.input,
            TokenClass::CachedInput => &mut self.cached_input,
            TokenClass::CacheWrite => &mut self.cache_write,
            TokenClass::CacheWriteHour => &mut self.cache_write_hour,
            TokenClass::Output => &mut self.output,
        }
    }

    /// Whether `rate` is plausible in US dollars per million tokens: 0 to a million.
    pub fn is_plausible(rate: Decimal) -> bool {
        Decimal::ZERO <= rate && rate <= HIGHEST
    }
}

impl RateCard {
    /// The rates of a request with a prompt of this length, cached tokens included.
    pub fn for_prompt(&self, prompt_tokens: u64) -> Rates {
        let reached = self
            .tiers
            .iter()
            .filter(|tier| prompt_tokens > tier.above_prompt_tokens);
        reached.fold(self.rates, |below, tier| Rates {
            input: tier.rates.input.or(below.input),
            cached_input: tier.rates.cached_input.or(below.cached_input),
            cache_write: tier.rates.cache_write.or(below.cache_write),
            cache_write_hour: tier.rates.cache_write_hour.or(below.cache_write_hour),
            output: tier.rates.output.or(below.output),
        })
    }

    /// The cost of a request. `factor` multiplies the list price: 1, or 0.5 for a batch at half the
    /// price.
    ///
    /// # Errors
    /// There are tokens of a class without a known rate.
    pub fn cost_of(&self, usage: &Usage, factor: Decimal) -> Result<RequestCost, RatesError> {
        let rates = self.for_prompt(usage.prompt());
        let used = usage
            .classes()
            .into_iter()
            .filter(|(_, tokens)| *tokens > 0);
        let lines = used
            .map(|(class, tokens)| {
                let rate = rates.of(class).filter(|rate| !rate.is_zero());
                let rate = rate.ok_or(RatesError::Unknown { class, tokens })?;
                let usd_per_million = rate.checked_mul(factor).ok_or(RatesError::OutOfRange)?;
                let usd = usd_per_million
                    .checked_mul(Decimal::from(tokens))
                    .and_then(|usd| usd.checked_mul(TOKEN))
                    .ok_or(RatesError::OutOfRange)?;
                Ok(CostLine {
                    class,
                    tokens,
                    usd_per_million,
                    usd,
                })
            })
            .collect::<Result<Vec<_>, _>>()?;
        let usd = lines
            .iter()
            .try_fold(Decimal::ZERO, |sum, line| sum.checked_add(line.usd))
            .ok_or(RatesError::OutOfRange)?;
        Ok(RequestCost { usd, lines })
    }
}

/// Reads a rate from a price book: above zero, and in quotes, so that no float is in between.
fn known<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Decimal>, D::Error> {
    let rate = read_text(deserializer)?;
    if rate.is_zero() {
        let message = "a rate of zero is an unknown one: leave it out";
        return Err(serde::de::Error::custom(message));
    }
    if !Rates::is_plausible(rate) {
        let message = format!("{rate} cannot be US dollars per million tokens");
        return Err(serde::de::Error::custom(message));
    }
    Ok(Some(rate))
}
