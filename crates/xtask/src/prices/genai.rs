//! The catalogue of genai-prices: US dollars per million tokens, with tiers, dates and variants.

use std::collections::BTreeMap;

use anyhow::{Result, bail};
use jiff::civil::Date;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::Edition;
use super::rates::{Class, RateKey, RateTable, known};

pub(super) struct Genai {
    pub edition: Edition,
    providers: Vec<Provider>,
}

/// Rates from a date on; `None` for the first period.
#[derive(Debug)]
pub(super) struct Period {
    pub from: Option<Date>,
    pub rates: RateTable,
}

/// genai-prices' price of a model.
pub(super) struct GenaiPrice {
    /// In ascending order of dates.
    pub periods: Vec<Period>,
    pub source: Option<String>,
}

#[derive(Deserialize)]
struct Provider {
    id: String,
    #[serde(default)]
    pricing_urls: Vec<String>,
    models: Vec<Model>,
}

#[derive(Deserialize)]
struct Model {
    id: String,
    prices: Box<RawValue>,
    #[serde(default)]
    price_variants: Vec<Variant>,
}

#[derive(Deserialize)]
struct Conditional {
    constraint: Option<Constraint>,
    prices: Fields,
}

#[derive(Deserialize)]
struct Variant {
    when: BTreeMap<String, String>,
    prices: Fields,
    constraint: Option<Constraint>,
}

#[derive(Deserialize)]
struct Constraint {
    start_date: Option<Date>,
}

type Fields = BTreeMap<String, Box<RawValue>>;

#[derive(Deserialize)]
struct Tiered {
    base: Box<RawValue>,
    tiers: Vec<TierFrom>,
}

#[derive(Deserialize)]
struct TierFrom {
    start: u64,
    price: Box<RawValue>,
}

impl Genai {
    pub(super) fn parse(json: &str, edition: Edition) -> Result<Self> {
        Ok(Self {
            edition,
            providers: serde_json::from_str(json)?,
        })
    }

    /// The price of `provider/model`.
    pub(super) fn price(&self, name: &str) -> Result<Option<GenaiPrice>> {
        let Some((provider, model)) = name.split_once('/') else {
            bail!("{name:?} is not provider/model");
        };
        let provider = self.providers.iter().find(|it| it.id == provider);
        let found = provider.and_then(|it| Some((it, it.models.iter().find(|it| it.id == model)?)));
        let Some((provider, model)) = found else {
            return Ok(None);
        };
        let periods = model.periods()?;
        Ok((!periods.is_empty()).then(|| GenaiPrice {
            periods,
            source: provider.pricing_urls.first().cloned(),
        }))
    }
}

impl Model {
    fn periods(&self) -> Result<Vec<Period>> {
        let conditionals: Vec<Conditional> = if self.prices.get().starts_with('[') {
            serde_json::from_str(self.prices.get())?
        } else {
            vec![Conditional {
                constraint: None,
                prices: serde_json::from_str(self.prices.get())?,
            }]
        };
        let mut periods = Vec::new();
        for Conditional { constraint, prices } in conditionals {
            let from = match constraint {
                None => None,
                Some(Constraint {
                    start_date: Some(date),
                }) => Some(date),
                Some(Constraint { start_date: None }) => {
                    bail!("{}: its price depends on more than the date", self.id)
                }
            };
            let mut rates = RateTable::new();
            add(&mut rates, &prices, false)?;
            periods.push(Period { from, rates });
        }
        periods.sort_by_key(|period| period.from);
        let ends: Vec<_> = periods.iter().skip(1).map(|period| period.from).collect();
        for (place, period) in periods.iter_mut().enumerate() {
            // The newest variant at the end of the period.
            let end = ends.get(place).copied().flatten();
            let variants = self
                .price_variants
                .iter()
                .filter(|variant| variant.is_batch());
            let newest = variants
                .filter(|variant| {
                    variant
                        .from()
                        .is_none_or(|from| end.is_none_or(|end| from < end))
                })
                .max_by_key(|variant| variant.from());
            if let Some(variant) = newest {
                add(&mut period.rates, &variant.prices, true)?;
            }
        }
        periods.retain(|period| !period.rates.is_empty());
        Ok(periods)
    }
}

impl Variant {
    fn is_batch(&self) -> bool {
        self.when.len() == 1 && self.when.get("processing").is_some_and(|it| it == "batch")
    }

    fn from(&self) -> Option<Date> {
        self.constraint.as_ref()?.start_date
    }
}

fn add(rates: &mut RateTable, fields: &Fields, batch: bool) -> Result<()> {
    const CLASSES: [(&str, Class); 5] = [
        ("input_mtok", Class::Input),
        ("cache_read_mtok", Class::CachedInput),
        ("cache_write_mtok", Class::CacheWrite),
        ("cache_write_1h_mtok", Class::CacheWriteHour),
        ("output_mtok", Class::Output),
    ];
    for (name, class) in CLASSES {
        let Some(field) = fields.get(name) else {
            continue;
        };
        let mut insert = |above_prompt_tokens, json: &RawValue| -> Result<()> {
            if let Some(usd) = known(json.get())? {
                let key = RateKey {
                    batch,
                    above_prompt_tokens,
                    class,
                };
                rates.insert(key, usd);
            }
            Ok(())
        };
        if field.get().starts_with('{') {
            let tiered: Tiered = serde_json::from_str(field.get())?;
            insert(0, &tiered.base)?;
            for tier in &tiered.tiers {
                insert(tier.start, &tier.price)?;
            }
        } else if field.get() != "null" {
            insert(0, field)?;
        }
    }
    Ok(())
}
