//! A server's token counts.

use farthing_economics::read_exact_or_null;
use rust_decimal::Decimal;
use serde::Deserialize;
use serde_json::Value;

/// The counts as they are written.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct UsageChunk {
    prompt_tokens: Value,
    completion_tokens: Value,
    prompt_tokens_details: Option<PromptDetails>,
    /// DeepSeek's name of the cached tokens.
    prompt_cache_hit_tokens: Value,
    /// Moonshot's.
    cached_tokens: Value,
    /// Farthing's extension.
    pub cost: Option<CostChunk>,
}

/// Details of the prompt's tokens.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct PromptDetails {
    cached_tokens: Value,
}

/// The cost of an answer, as metered by Farthing.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct CostChunk {
    pub device_seconds: Option<f64>,
    pub usd: Option<Decimal>,
}

/// Why a count cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("usage.{name} is {value}, not a number of tokens")]
pub(crate) struct CountError {
    name: &'static str,
    value: String,
}

impl UsageChunk {
    /// Tokens of the prompt. `null` and zero are no count.
    pub(crate) fn prompt_tokens(&self) -> Result<Option<u64>, CountError> {
        let tokens = count("prompt_tokens", &self.prompt_tokens)?;
        Ok(tokens.filter(|tokens| *tokens > 0))
    }

    /// Tokens of the answer. `null` and zero are no count.
    pub(crate) fn completion_tokens(&self) -> Result<Option<u64>, CountError> {
        let tokens = count("completion_tokens", &self.completion_tokens)?;
        Ok(tokens.filter(|tokens| *tokens > 0))
    }

    /// Tokens of the prompt that came from a cache.
    pub(crate) fn cached_tokens(&self) -> Result<Option<u64>, CountError> {
        let details = self.prompt_tokens_details.as_ref();
        let details = details.map_or(&Value::Null, |it| &it.cached_tokens);
        let names = [
            ("prompt_tokens_details.cached_tokens", details),
            ("prompt_cache_hit_tokens", &self.prompt_cache_hit_tokens),
            ("cached_tokens", &self.cached_tokens),
        ];
        for (name, value) in names {
            if let Some(tokens) = count(name, value)? {
                return Ok(Some(tokens));
            }
        }
        Ok(None)
    }
}

/// Reads `12`, and the `12.0` and `"12"` of servers in other languages.
fn count(name: &'static str, value: &Value) -> Result<Option<u64>, CountError> {
    let exact = |number: f64| {
        (number.fract() == 0.0 && (0.0..1e15).contains(&number)).then_some(number as u64)
    };
    let tokens = match value {
        Value::Null => return Ok(None),
        Value::Number(number) => number.as_u64().or_else(|| exact(number.as_f64()?)),
        Value::String(text) => text.parse().ok(),
        _ => None,
    };
    let error = || CountError {
        name,
        value: value.to_string(),
    };
    tokens.map(Some).ok_or_else(error)
}

impl<'de> Deserialize<'de> for CostChunk {
    /// Other servers have a `cost` of their own, such as OpenRouter's number of dollars. Only an
    /// object with Farthing's fields counts.
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Default, Deserialize)]
        #[serde(default)]
        struct Metered {
            device_seconds: Option<f64>,
            #[serde(deserialize_with = "read_exact_or_null")]
            usd: Option<Decimal>,
        }
        let text = Box::<serde_json::value::RawValue>::deserialize(deserializer)?;
        let metered: Metered = serde_json::from_str(text.get()).unwrap_or_default();
        Ok(Self {
            device_seconds: metered.device_seconds,
            usd: metered.usd,
        })
    }
}
