//! The rates of one model, in the form that both catalogues share.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use rust_decimal::Decimal;

/// A class of token, in the order of the books.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Class {
    Input,
    CachedInput,
    CacheWrite,
    CacheWriteHour,
    Output,
}

impl Class {
    /// The key in a price book.
    pub(super) fn key(self) -> &'static str {
        match self {
            Self::Input => "input",
            Self::CachedInput => "cached_input",
            Self::CacheWrite => "cache_write",
            Self::CacheWriteHour => "cache_write_hour",
            Self::Output => "output",
        }
    }
}

/// Identifies a rate: for batches or not, the minimum number of prompt tokens, and the class.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct RateKey {
    pub batch: bool,
    pub above_prompt_tokens: u64,
    pub class: Class,
}

/// US dollars per million tokens. An unknown rate is absent.
pub(super) type RateTable = BTreeMap<RateKey, Decimal>;

/// The exact decimal of a JSON number. Zero means unknown.
pub(super) fn known(json_number: &str) -> Result<Option<Decimal>> {
    let text = json_number.trim();
    let number = if text.contains(['e', 'E']) {
        Decimal::from_scientific(text)
    } else {
        Decimal::from_str_exact(text)
    };
    let number = number.with_context(|| format!("{text} is no price"))?;
    Ok((!number.is_zero()).then_some(number.normalize()))
}
