//! The catalogue of LiteLLM: one flat object per model, in US dollars per token, without dates.

use std::collections::BTreeMap;

use anyhow::Result;
use jiff::civil::Date;
use rust_decimal::Decimal;
use serde_json::value::RawValue;

use super::Edition;
use super::rates::{Class, RateKey, RateTable, known};

pub(super) struct LiteLlm {
    pub edition: Edition,
    models: BTreeMap<String, Box<RawValue>>,
}

/// LiteLLM's price of a model.
pub(super) struct LiteLlmPrice {
    pub rates: RateTable,
    pub source: Option<String>,
    /// The last date on which the model is available.
    pub ends_on: Option<Date>,
}

const MILLION: Decimal = Decimal::from_parts(1_000_000, 0, 0, false, 0);

impl LiteLlm {
    pub(super) fn parse(json: &str, edition: Edition) -> Result<Self> {
        Ok(Self {
            edition,
            models: serde_json::from_str(json)?,
        })
    }

    pub(super) fn price(&self, key: &str) -> Result<Option<LiteLlmPrice>> {
        let Some(row) = self.models.get(key) else {
            return Ok(None);
        };
        let fields: BTreeMap<String, Box<RawValue>> = serde_json::from_str(row.get())?;
        let mut rates = RateTable::new();
        for (name, value) in &fields {
            if let Some(key) = rate_key(name)
                && let Some(usd) = known(value.get())?
            {
                rates.insert(key, (usd * MILLION).normalize());
            }
        }
        let text = |name: &str| -> Result<Option<String>> {
            let value = fields.get(name);
            Ok(value
                .map(|value| serde_json::from_str(value.get()))
                .transpose()?)
        };
        let ends_on = text("deprecation_date")?.and_then(|date| date.parse().ok());
        let price = LiteLlmPrice {
            rates,
            source: text("source")?,
            ends_on,
        };
        Ok((!price.rates.is_empty()).then_some(price))
    }
}

/// Parses keys like `input_cost_per_token_above_272k_tokens_batches`; `None` for rates that the
/// books do not contain (priority, flex, audio, …).
fn rate_key(name: &str) -> Option<RateKey> {
    const CLASSES: [(&str, Class); 5] = [
        (
            "cache_creation_input_token_cost_above_1hr",
            Class::CacheWriteHour,
        ),
        ("cache_creation_input_token_cost", Class::CacheWrite),
        ("cache_read_input_token_cost", Class::CachedInput),
        ("input_cost_per_token", Class::Input),
        ("output_cost_per_token", Class::Output),
    ];
    let found = CLASSES
        .iter()
        .find_map(|(prefix, class)| Some((name.strip_prefix(prefix)?, class)));
    let (rest, class) = found?;
    let (rest, batch) = match rest.strip_suffix("_batches") {
        Some(rest) => (rest, true),
        None => (rest, false),
    };
    let above_prompt_tokens = match rest {
        "" => 0,
        rest => {
            let thousands = rest.strip_prefix("_above_")?.strip_suffix("k_tokens")?;
            thousands.parse::<u64>().ok()?.checked_mul(1000)?
        }
    };
    Some(RateKey {
        batch,
        above_prompt_tokens,
        class: *class,
    })
}
