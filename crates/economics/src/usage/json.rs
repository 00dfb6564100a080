//! Usage as reported by vendors.

use rust_decimal::prelude::ToPrimitive;

use super::{CacheCounting, Usage, UsageError};
use crate::json_object::{JsonField, JsonObject};

/// Why a JSON object is not a usage.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UsageJsonError {
    /// The object has an unexpected form.
    #[error("usage: {0}")]
    Shape(String),
    /// The counts contradict each other.
    #[error("usage: {0}")]
    Counts(#[from] UsageError),
}

/// What a field counts.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Count {
    Prompt,
    Cached,
    /// Tokens written to the cache, for any time.
    Written,
    WrittenFiveMinutes,
    WrittenHour,
    Output,
    /// Reasoning tokens that Google counts beside the answer.
    Thoughts,
    /// Tokens that other fields include.
    Inside,
}

/// Field names of OpenAI's two APIs, Anthropic, Google, Mistral and DeepSeek.
const NAMES: [(Count, &[&str]); 8] = [
    (
        Count::Prompt,
        &[
            "prompt_tokens",
            "input_tokens",
            "promptTokenCount",
            "prompt_token_count",
        ],
    ),
    (
        Count::Cached,
        &[
            "cached_tokens",
            "cache_read_input_tokens",
            "cached_input_tokens",
            "cache_read_tokens",
            "cachedContentTokenCount",
            "cached_content_token_count",
            "prompt_cache_hit_tokens",
        ],
    ),
    (
        Count::Written,
        &[
            "cache_creation_input_tokens",
            "cache_write_tokens",
            "cache_creation_tokens",
        ],
    ),
    (Count::WrittenFiveMinutes, &["ephemeral_5m_input_tokens"]),
    (Count::WrittenHour, &["ephemeral_1h_input_tokens"]),
    (
        Count::Output,
        &[
            "completion_tokens",
            "output_tokens",
            "candidatesTokenCount",
            "candidates_token_count",
        ],
    ),
    (
        Count::Thoughts,
        &["thoughtsTokenCount", "thoughts_token_count"],
    ),
    (
        Count::Inside,
        &[
            "total_tokens",
            "totalTokenCount",
            "total_token_count",
            "reasoning_tokens",
            "thinking_tokens",
            "text_tokens",
            "accepted_prediction_tokens",
            "rejected_prediction_tokens",
            "prompt_cache_miss_tokens",
            "cost",
        ],
    ),
];
/// Nested objects that hold counts.
const DETAILS: [&str; 6] = [
    "prompt_tokens_details",
    "input_tokens_details",
    "completion_tokens_details",
    "output_tokens_details",
    "cache_creation",
    "usage",
];

impl Usage {
    /// Reads the `usage` object of a vendor's response. Missing counts are zero.
    ///
    /// # Errors
    /// The object is invalid, has an unknown count, or its counts contradict each other.
    pub fn from_json(text: &str, counting: CacheCounting) -> Result<Self, UsageJsonError> {
        let object = JsonObject::read(text).map_err(UsageJsonError::Shape)?;
        let mut counts = Counts::default();
        counts.read(&object).map_err(UsageJsonError::Shape)?;
        let usage = counts.usage().map_err(UsageJsonError::Shape)?;
        Ok(usage.counted(counting)?)
    }
}

#[derive(Default)]
struct Counts(Vec<(Count, u64)>);

impl Counts {
    fn read(&mut self, object: &JsonObject) -> Result<(), String> {
        for (name, field) in object.fields() {
            let named = NAMES.iter().find(|(_, names)| names.contains(&name));
            match (named, field) {
                (None, JsonField::Object(details)) if DETAILS.contains(&name) => {
                    self.read(&details)?;
                }
                (None, JsonField::Number(number)) if !number.is_zero() => {
                    return Err(format!(
                        "unknown count `{name}`: expected prompt_tokens, \
                         cached_tokens, completion_tokens, input_tokens, \
                         cache_creation_input_tokens, cache_read_input_tokens, output_tokens"
                    ));
                }
                (None, _) | (Some((Count::Inside, _)), _) | (Some(_), JsonField::Null) => {}
                (Some((count, _)), JsonField::Number(number)) => {
                    let tokens = number.normalize();
                    let tokens = (tokens.scale() == 0).then_some(tokens);
                    let tokens = tokens.and_then(|tokens| tokens.to_u64());
                    let tokens = tokens.ok_or_else(|| not_a_count(name))?;
                    self.add(*count, tokens, name)?;
                }
                (Some(_), _) => return Err(not_a_count(name)),
            }
        }
        Ok(())
    }

    /// One count may appear under two names if both have the same value.
    fn add(&mut self, count: Count, tokens: u64, name: &str) -> Result<(), String> {
        match self.of(count) {
            Some(known) if known != tokens => Err(format!(
                "`{name}` says {tokens}, another name of the same count says {known}"
            )),
            Some(_) => Ok(()),
            None => {
                self.0.push((count, tokens));
                Ok(())
            }
        }
    }

    fn of(&self, count: Count) -> Option<u64> {
        let found = self.0.iter().find(|(known, _)| *known == count);
        found.map(|(_, tokens)| *tokens)
    }

    fn usage(&self) -> Result<Usage, String> {
        if self.0.is_empty() {
            return Err("there are no token counts in it".to_owned());
        }
        let count = |count| self.of(count).unwrap_or(0);
        let hour = count(Count::WrittenHour);
        let five_minutes = match self.of(Count::Written) {
            None => count(Count::WrittenFiveMinutes),
            Some(written) => match self.of(Count::WrittenFiveMinutes) {
                Some(five_minutes) if five_minutes.checked_add(hour) != Some(written) => {
                    return Err(format!(
                        "{five_minutes} tokens written for five minutes and {hour} for an hour \
                         are not the {written} written"
                    ));
                }
                _ => written.checked_sub(hour).ok_or_else(|| {
                    format!("{hour} of {written} tokens cannot be written for an hour")
                })?,
            },
        };
        let output = count(Count::Output).checked_add(count(Count::Thoughts));
        Ok(Usage {
            input: count(Count::Prompt),
            cached_input: count(Count::Cached),
            cache_write: five_minutes,
            cache_write_hour: hour,
            output: output.ok_or("these are more tokens than can be counted")?,
        })
    }
}

fn not_a_count(name: &str) -> String {
    format!("`{name}` must be a whole number of tokens")
}
