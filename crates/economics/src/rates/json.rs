//! Rates in JSON, as written by hand or copied from a catalogue, in US dollars per million.

use rust_decimal::Decimal;
use rust_decimal::prelude::ToPrimitive;

use super::{RateCard, Rates, Tier, litellm};
use crate::TokenClass;
use crate::json_object::{JsonField, JsonObject};

/// Why a JSON object is not a rate card.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("rates: {0}")]
pub struct RatesJsonError(String);

/// A token class and the names of its rate.
const NAMES: [(TokenClass, &[&str]); 5] = [
    (
        TokenClass::Input,
        &["inp", "input", "in", "prompt", "input_mtok"],
    ),
    (
        TokenClass::CachedInput,
        &["cache_read", "cached", "cached_input", "cache_read_mtok"],
    ),
    (
        TokenClass::CacheWrite,
        &[
            "cache_write",
            "cache_creation",
            "cache_write_5m",
            "cache_write_mtok",
        ],
    ),
    (
        TokenClass::CacheWriteHour,
        &["cache_write_1h", "cache_write_hour", "cache_write_1h_mtok"],
    ),
    (
        TokenClass::Output,
        &["out", "output", "completion", "output_mtok"],
    ),
];
const KNOWN: &str = "inp, out, cache_read, cache_write, cache_write_1h (US dollars per million \
                     tokens), each also with _above_200k, or tiers: [{\"above\": 200000, …}]; \
                     batch_factor; or an entry of LiteLLM's price file";

impl RateCard {
    /// Reads `{"inp": 3, "cache_read": 0.3, "out": 15}` and the factor for batches, which is 1 by
    /// default. A zero is an unknown rate. Also reads an entry of LiteLLM's price file, in US dollars
    /// per token.
    ///
    /// # Errors
    /// The object is invalid. The message names the wrong field and the possible ones.
    pub fn from_json(text: &str) -> Result<(Self, Decimal), RatesJsonError> {
        read(text).map_err(RatesJsonError)
    }
}

fn read(text: &str) -> Result<(RateCard, Decimal), String> {
    let object = JsonObject::read(text)?;
    // An entry may be pasted with its model's name.
    let object = match object.fields().collect::<Vec<_>>().as_slice() {
        [(name, JsonField::Object(_))] => object.object(name).unwrap_or(object),
        _ => object,
    };
    let mut card = RateCard::default();
    if litellm::is_entry(&object) {
        read_litellm(&object, &mut card)?;
        card.tiers.sort_by_key(|tier| tier.above_prompt_tokens);
        return Ok((card, Decimal::ONE));
    }
    let mut factor = None;
    for (name, field) in object.fields() {
        match (name, field) {
            ("batch_factor", field) => {
                let batch_factor = number(name, field)?.unwrap_or(Decimal::ONE);
                if batch_factor.is_sign_negative() || batch_factor > Decimal::TEN {
                    return Err("`batch_factor` must be between 0 and 10".to_owned());
                }
                factor = Some(batch_factor);
            }
            ("tiers", JsonField::Array(tiers)) => {
                for tier in tiers {
                    read_tier(&JsonObject::read(tier.get())?, &mut card)?;
                }
            }
            (_, field) => {
                let (rate_name, above) = split_threshold(name);
                let class = class(rate_name, name)?;
                set(
                    card_rates(&mut card, above),
                    class,
                    name,
                    number(name, field)?,
                )?;
            }
        }
    }
    card.tiers.sort_by_key(|tier| tier.above_prompt_tokens);
    let all = card.tiers.iter().map(|tier| tier.rates);
    if all
        .chain([card.rates])
        .all(|rates| rates == Rates::default())
    {
        return Err(format!("no rates: expected {KNOWN}"));
    }
    Ok((card, factor.unwrap_or(Decimal::ONE)))
}

fn read_tier(tier: &JsonObject, card: &mut RateCard) -> Result<(), String> {
    const THRESHOLDS: [&str; 3] = ["above", "above_tokens", "above_prompt_tokens"];
    let mut above = None;
    for (name, field) in tier.fields().filter(|(name, _)| THRESHOLDS.contains(name)) {
        above =
            number(name, field)?.and_then(|tokens| tokens.is_integer().then_some(tokens)?.to_u64());
    }
    let Some(above) = above else {
        return Err("a tier needs `above`: prompt tokens, a whole number".to_owned());
    };
    for (name, field) in tier.fields().filter(|(name, _)| !THRESHOLDS.contains(name)) {
        let rate = number(name, field)?;
        set(
            card_rates(card, Some(above)),
            class(name, name)?,
            name,
            rate,
        )?;
    }
    Ok(())
}

/// `inp_above_200k` or `inp_above_200k_tokens` is `inp` above 200000.
fn split_threshold(name: &str) -> (&str, Option<u64>) {
    let threshold = |text: &str| {
        let text = text.strip_suffix("_tokens").unwrap_or(text);
        match text.strip_suffix(['k', 'K']) {
            Some(thousands) => thousands.parse::<u64>().ok()?.checked_mul(1000),
            None => text.parse().ok(),
        }
    };
    match name.rsplit_once("_above_") {
        Some((rate, text)) => match threshold(text) {
            Some(above) => (rate, Some(above)),
            None => (name, None),
        },
        None => (name, None),
    }
}

fn card_rates(card: &mut RateCard, above: Option<u64>) -> &mut Rates {
    let Some(above_prompt_tokens) = above else {
        return &mut card.rates;
    };
    let tiers = &mut card.tiers;
    let place = tiers
        .iter()
        .position(|tier| tier.above_prompt_tokens == above_prompt_tokens);
    let place = place.unwrap_or_else(|| {
        tiers.push(Tier {
            above_prompt_tokens,
            rates: Rates::default(),
        });
        tiers.len() - 1
    });
    &mut tiers[place].rates
}

fn read_litellm(entry: &JsonObject, card: &mut RateCard) -> Result<(), String> {
    for (name, field) in entry.fields() {
        let (rate_name, above) = split_threshold(name);
        let Some(class) = litellm::class(entry, rate_name)? else {
            continue;
        };
        let rate = number(name, field)?.map(|usd_per_token| {
            let out_of_range = || format!("`{name}` is out of range");
            litellm::per_million(usd_per_token).ok_or_else(out_of_range)
        });
        set(card_rates(card, above), class, name, rate.transpose()?)?;
    }
    Ok(())
}

/// The class of a rate by its name without a threshold.
fn class(rate_name: &str, name: &str) -> Result<TokenClass, String> {
    let named = NAMES.iter().find(|(_, names)| names.contains(&rate_name));
    let unknown = || format!("unknown rate `{name}`: expected {KNOWN}");
    named.map(|(class, _)| *class).ok_or_else(unknown)
}

fn set(
    rates: &mut Rates,
    class: TokenClass,
    name: &str,
    rate: Option<Decimal>,
) -> Result<(), String> {
    if rate.is_some_and(|rate| !Rates::is_plausible(rate)) {
        return Err(format!(
            "`{name}` must be between 0 and 1000000 US dollars per million tokens"
        ));
    }
    let rate = rate.filter(|rate| !rate.is_zero());
    let place = rates.of_mut(class);
    if place.is_some() && rate.is_some() && *place != rate {
        return Err(format!("`{name}` contradicts another rate of {class}"));
    }
    *place = place.or(rate);
    Ok(())
}

fn number(name: &str, field: JsonField) -> Result<Option<Decimal>, String> {
    match field {
        JsonField::Null => Ok(None),
        JsonField::Number(number) => Ok(Some(number)),
        _ => Err(format!("`{name}` must be a number")),
    }
}
