//! What a vendor's models cost.

use std::collections::BTreeMap;

use farthing_economics::{PriceBook, RateCard, Rates, TokenClass, Usage, model_spellings};
use jiff::civil::Date;
use rust_decimal::Decimal;

use crate::config_error::ConfigProblem;
use crate::{OriginalChat, VendorConfig};

/// The prices of one vendor: its own ones, then those of the book.
pub(crate) struct VendorPrices {
    own: BTreeMap<String, RateCard>,
    list: Option<String>,
    book: PriceBook,
    max_output_tokens: BTreeMap<String, u64>,
}

/// Rates and the name under which they were found.
pub(crate) struct FoundRates {
    pub(crate) card: RateCard,
    pub(crate) name: String,
}

/// The most prompt tokens of an image at OpenAI: eight tiles of gpt-4o-mini, 2,833 + 8 × 5,667
/// (<https://platform.openai.com/docs/guides/images-vision>).
const MAX_IMAGE_TOKENS: u64 = 48_169;
/// Tokens that a vendor may add to a prompt by itself: its own instructions for tools, and the marks
/// around messages beyond the JSON that we send.
const VENDOR_PROMPT_TOKENS: u64 = 1_000;
/// A price per million, times this, is a price per token.
const PER_TOKEN: Decimal = Decimal::from_parts(1, 0, 0, false, 6);

impl VendorPrices {
    pub(crate) fn new(
        config: &VendorConfig,
        book: &PriceBook,
        today: Date,
    ) -> Result<Self, ConfigProblem> {
        if let Some(name) = &config.price_list {
            let mut known: Vec<_> = book
                .token_prices(today)
                .map(|it| it.vendor.clone())
                .collect();
            known.sort();
            known.dedup();
            if !known.contains(name) {
                return Err(ConfigProblem::PriceList {
                    name: name.clone(),
                    known,
                });
            }
        }
        Ok(Self {
            own: config.prices.clone(),
            list: config.price_list.clone(),
            book: book.clone(),
            max_output_tokens: config.max_output_tokens.clone(),
        })
    }

    /// The rates of a model, also under a dated name.
    pub(crate) fn of(&self, model: &str, day: Date) -> Option<FoundRates> {
        let model = model.strip_prefix("models/").unwrap_or(model);
        let own = model_spellings(model)
            .into_iter()
            .find_map(|name| Some((self.own.get(&name)?.clone(), name)));
        if let Some((card, name)) = own {
            return Some(FoundRates { card, name });
        }
        let name = format!("{}/{model}", self.list.as_ref()?);
        let row = self.book.token_price(&name, day).ok()?;
        Some(FoundRates {
            card: row.standard.clone(),
            name: row.model.clone(),
        })
    }

    /// The most tokens of an answer of a model, if the configuration says so.
    pub(crate) fn max_output_tokens(&self, model: &str) -> Option<u64> {
        self.max_output_tokens.get(model).copied()
    }

    /// The most that a request can cost, or why that is unknown. No text has more tokens than bytes,
    /// so the bytes of the translated body limit its prompt.
    pub(crate) fn worst_case(
        &self,
        chat: &OriginalChat,
        model: &str,
        body_bytes: usize,
        max_tokens: Option<u64>,
        day: Date,
    ) -> Result<Decimal, String> {
        let found = self.of(model, day).ok_or_else(|| {
            format!("there is no price of {model:?} for {day}: set `price_list` or `prices`")
        })?;
        if let Some(tier) = chat.parameter("service_tier")
            && !matches!(tier.as_str(), Some("auto" | "default" | "standard"))
        {
            return Err("`service_tier` has another price".to_owned());
        }
        let images = images_of(chat)?;
        let output = max_tokens.or_else(|| self.max_output_tokens(model)).ok_or_else(|| {
            format!(
                "the request has no `max_completion_tokens`, and `max_output_tokens` has no {model:?}"
            )
        })?;
        let out_of_range = || "it is out of range".to_owned();
        let output = output
            .checked_mul(chat.choices() as u64)
            .ok_or_else(out_of_range)?;
        let prompt = (body_bytes as u64)
            .saturating_add(images.saturating_mul(MAX_IMAGE_TOKENS))
            .saturating_add(VENDOR_PROMPT_TOKENS);
        let highest = highest_rates(&found.card, prompt);
        let rate = |class| {
            let rate: Option<Decimal> = highest.of(class);
            rate.ok_or_else(|| format!("{model:?} has no rate for {class}"))
        };
        let cost = |rate: Decimal, tokens: u64| {
            rate.checked_mul(Decimal::from(tokens))
                .ok_or_else(out_of_range)
        };
        let input = cost(rate(TokenClass::Input)?, prompt)?;
        let output = cost(rate(TokenClass::Output)?, output)?;
        let sum = input
            .checked_add(output)
            .and_then(|it| it.checked_mul(PER_TOKEN));
        sum.ok_or_else(out_of_range)
    }

    /// The cost of tokens at the rates of the model that served them, or why it is unknown; with a
    /// remark if the name in the price list is another one.
    pub(crate) fn cost(
        &self,
        usage: &Usage,
        model: &str,
        day: Date,
    ) -> Result<(Decimal, Option<String>), String> {
        let found = self
            .of(model, day)
            .ok_or_else(|| format!("there is no price of {model:?} for {day}"))?;
        let cost = found
            .card
            .cost_of(usage, Decimal::ONE)
            .map_err(|error| error.to_string())?;
        let remark = (found.name != model).then(|| format!("priced as {}", found.name));
        Ok((cost.usd, remark))
    }
}

/// The highest rates that a prompt of up to `prompt` tokens can meet. Every prompt token may be
/// written to the cache.
fn highest_rates(card: &RateCard, prompt: u64) -> Rates {
    let limits = card
        .tiers
        .iter()
        .map(|tier| tier.above_prompt_tokens.saturating_add(1));
    let lengths = limits.filter(|length| *length <= prompt).chain([0]);
    lengths
        .map(|length| card.for_prompt(length))
        .fold(Rates::default(), |highest, rates| {
            let input = [rates.input, rates.cache_write, rates.cache_write_hour];
            Rates {
                input: input.into_iter().flatten().chain(highest.input).max(),
                output: rates.output.max(highest.output),
                ..Rates::default()
            }
        })
}

/// The number of images, if everything else is text.
fn images_of(chat: &OriginalChat) -> Result<u64, String> {
    let messages = chat.parameter("messages").and_then(|it| it.as_array());
    let contents = messages
        .into_iter()
        .flatten()
        .filter_map(|it| it.get("content")?.as_array());
    let mut images = 0;
    for part in contents.flatten() {
        match part.get("type").and_then(|it| it.as_str()) {
            Some("text" | "refusal") => {}
            Some("image_url") => images += 1,
            _ => return Err("a part of a message is neither text nor an image".to_owned()),
        }
    }
    Ok(images)
}

#[cfg(test)]
mod tests;
