//! Entries of LiteLLM's price file, in US dollars per token.

use rust_decimal::Decimal;

use crate::TokenClass;
use crate::json_object::{JsonField, JsonObject};

/// Names of the rates per token, and their class.
const PER_TOKEN: [(&str, TokenClass); 6] = [
    ("input_cost_per_token", TokenClass::Input),
    ("output_cost_per_token", TokenClass::Output),
    ("cache_read_input_token_cost", TokenClass::CachedInput),
    ("input_cost_per_token_cache_hit", TokenClass::CachedInput),
    ("cache_creation_input_token_cost", TokenClass::CacheWrite),
    (
        "cache_creation_input_token_cost_above_1hr",
        TokenClass::CacheWriteHour,
    ),
];
/// Parts of names of prices that apply to no request priced here: usage with such tokens, of such a
/// tier or with such calls is refused.
const OTHER: [&str; 6] = ["audio", "image", "video", "_batches", "_flex", "_priority"];
/// A price of its own for thoughts. They are counted as output.
const REASONING: &str = "output_cost_per_reasoning_token";
/// A float's noise, as in 1.0000000000000001e-07 per token, is beyond these digits per million.
const DIGITS: u32 = 10;

/// Whether this is such an entry.
pub(super) fn is_entry(object: &JsonObject) -> bool {
    object.fields().any(|(name, _)| is_per_token(name))
}

/// The class that the rate `name` (without a threshold) is of; `None` if it is not needed here.
///
/// # Errors
/// It is a price per token that is not known here.
pub(super) fn class(object: &JsonObject, name: &str) -> Result<Option<TokenClass>, String> {
    if let Some((_, class)) = PER_TOKEN.iter().find(|(known, _)| *known == name) {
        return Ok(Some(*class));
    }
    if name == "tiered_pricing" {
        return Err(
            "`tiered_pricing` is not known: write the tiers as tiers: [{\"above\": 32000, …}]"
                .to_owned(),
        );
    }
    if name == REASONING {
        let rate = |name| match object.get(name) {
            Some(JsonField::Number(rate)) => Some(rate.normalize()),
            _ => None,
        };
        return match rate(REASONING) == rate("output_cost_per_token") {
            true => Ok(None),
            false => Err(format!(
                "`{REASONING}` is not the price of output, as it has to be here"
            )),
        };
    }
    if is_per_token(name) && !OTHER.iter().any(|other| name.contains(other)) {
        return Err(format!("unknown rate `{name}`"));
    }
    Ok(None)
}

/// US dollars per million tokens.
pub(super) fn per_million(usd_per_token: Decimal) -> Option<Decimal> {
    let million = Decimal::from(1_000_000);
    let usd = usd_per_token.checked_mul(million)?;
    Some(usd.round_dp(DIGITS).normalize())
}

fn is_per_token(name: &str) -> bool {
    name.contains("cost_per_token")
        || name.contains("token_cost")
        || name.ends_with("_per_reasoning_token")
}
