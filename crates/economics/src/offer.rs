//! Offers of vendors, and their cost per token of the own tokenizer.

use rust_decimal::Decimal;
use rust_decimal::prelude::ToPrimitive;

use crate::{GpuPrice, OfferClass, Rates, TcoError, TextKind, TokenPrice, TokenizerFamily};

/// A vendor's offer.
#[derive(Clone, Copy, Debug)]
pub enum Offer<'a> {
    /// Tokens of a model.
    Tokens(&'a TokenPrice),
    /// Hours of a GPU that serves the own model.
    Endpoint(&'a GpuPrice),
}

/// The models to compare with by default: a large and a small model of a vendor, and two hosted
/// open models.
pub const DEFAULT_OFFERS: [&str; 4] = [
    "openai/gpt-4o",
    "openai/gpt-4o-mini",
    "groq/llama-3.1-8b-instant",
    "together/mistralai/Mistral-7B-Instruct-v0.3",
];

/// The prompts that an offer is priced for, counted by the own tokenizer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PromptTerms {
    /// Tokens of a prompt: long ones may cost more. 0 takes the lowest rates.
    pub prompt_tokens: Decimal,
    /// Whether some of them come from a cache.
    pub has_cached_tokens: bool,
    /// The tokenizer that counted them, if it is one of the measured ones.
    pub tokenizer: Option<TokenizerFamily>,
    /// The kind of text.
    pub text: TextKind,
}

/// A vendor's rates for the own prompts.
#[derive(Clone, Debug)]
pub(crate) struct OfferRates {
    /// Per million of the vendor's tokens, with a rate for cached tokens if there are any.
    pub rates: Rates,
    /// The vendor's tokens per own token; `None` if a tokenizer is unknown.
    pub tokens_per_own_token: Option<Decimal>,
    /// What the figures assume.
    pub assumptions: Vec<String>,
}

impl OfferRates {
    pub(crate) fn new(price: &TokenPrice, terms: PromptTerms) -> Result<Self, TcoError> {
        let mut assumptions = Vec::new();
        let tokens_per_own_token = match (terms.tokenizer, price.tokenizer) {
            (Some(own), Some(theirs)) => own.ratio_to(theirs, terms.text),
            _ => None,
        };
        if tokens_per_own_token.is_none() {
            assumptions.push(
                "its tokens are taken to be as many as ours: a tokenizer is unknown".to_owned(),
            );
        }
        let prompt_tokens = terms
            .prompt_tokens
            .checked_mul(tokens_per_own_token.unwrap_or(Decimal::ONE))
            .and_then(|prompt| prompt.ceil().to_u64());
        let prompt_tokens = prompt_tokens.ok_or(TcoError::Overflow)?;
        let mut rates = price.standard.for_prompt(prompt_tokens);
        if rates.cached_input.is_none() && terms.has_cached_tokens {
            assumptions
                .push("its price of cached tokens is unknown: they count as others".to_owned());
            rates.cached_input = rates.input;
        }
        Ok(Self {
            rates,
            tokens_per_own_token,
            assumptions,
        })
    }

    /// The vendor's tokens per own token, taken to be 1 if unknown.
    pub(crate) fn ratio(&self) -> Decimal {
        self.tokens_per_own_token.unwrap_or(Decimal::ONE)
    }
}

impl OfferClass {
    /// Its name in a comparison.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Frontier => "frontier",
            Self::Hosted => "hosted",
        }
    }
}
