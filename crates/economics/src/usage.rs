//! The tokens of a request by class.

mod json;

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

pub use json::{ReportedUsage, UsageJsonError};

/// Whether a vendor counts cached tokens as part of the prompt tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CacheCounting {
    /// Inside the prompt tokens: OpenAI, Google, Mistral.
    Subset,
    /// Beside the input tokens: Anthropic.
    Additive,
}

/// A class of tokens with its own price.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum TokenClass {
    /// Computed prompt tokens.
    Input,
    /// Prompt tokens read from the cache.
    CachedInput,
    /// Prompt tokens written to the cache.
    CacheWrite,
    /// Prompt tokens written to the cache for an hour.
    CacheWriteHour,
    /// Answer tokens, reasoning included.
    Output,
}

/// The tokens of a request. Each is in one class, however the vendor counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Prompt tokens at the full input price.
    pub input: u64,
    /// Prompt tokens read from the cache.
    pub cached_input: u64,
    /// Prompt tokens written to the cache.
    pub cache_write: u64,
    /// Prompt tokens written to the cache for an hour.
    pub cache_write_hour: u64,
    /// Answer tokens.
    pub output: u64,
}

/// Why counts are invalid.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UsageError {
    /// A part is larger than the whole.
    #[error(
        "{cached} cached and {written} written tokens exceed the prompt of {prompt} tokens: use the \
         schema `additive` if the vendor counts them beside the prompt"
    )]
    CacheExceedsPrompt {
        /// Prompt tokens as reported.
        prompt: u64,
        /// Of these, tokens read from the cache.
        cached: u64,
        /// Of these, tokens written to the cache.
        written: u64,
    },
    /// The sum is out of range.
    #[error("the number of tokens is out of range")]
    TooMany,
}

impl Usage {
    /// The tokens at the full input price, where `self.input` holds the prompt tokens as reported
    /// by the vendor.
    ///
    /// # Errors
    /// The schema is [`CacheCounting::Subset`] and the parts exceed the prompt, or a sum overflows.
    pub fn counted(mut self, counting: CacheCounting) -> Result<Self, UsageError> {
        let sum = |numbers: &[u64]| {
            numbers
                .iter()
                .try_fold(0u64, |sum, number| sum.checked_add(*number))
                .ok_or(UsageError::TooMany)
        };
        let written = sum(&[self.cache_write, self.cache_write_hour])?;
        if counting == CacheCounting::Subset {
            self.input = self
                .input
                .checked_sub(sum(&[self.cached_input, written])?)
                .ok_or(UsageError::CacheExceedsPrompt {
                    prompt: self.input,
                    cached: self.cached_input,
                    written,
                })?;
        }
        sum(&[self.input, self.cached_input, written, self.output])?;
        Ok(self)
    }

    /// All prompt tokens, cached or not. Tiers depend on this number.
    pub fn prompt(&self) -> u64 {
        self.input + self.cached_input + self.cache_write + self.cache_write_hour
    }

    /// Each class with its number of tokens.
    pub fn classes(&self) -> [(TokenClass, u64); 5] {
        [
            (TokenClass::Input, self.input),
            (TokenClass::CachedInput, self.cached_input),
            (TokenClass::CacheWrite, self.cache_write),
            (TokenClass::CacheWriteHour, self.cache_write_hour),
            (TokenClass::Output, self.output),
        ]
    }
}

impl fmt::Display for TokenClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Input => "input",
            Self::CachedInput => "cached input",
            Self::CacheWrite => "cache write",
            Self::CacheWriteHour => "cache write for an hour",
            Self::Output => "output",
        })
    }
}

impl FromStr for CacheCounting {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "subset" => Ok(Self::Subset),
            "additive" => Ok(Self::Additive),
            _ => Err(
                "expected subset (cached tokens inside the prompt: OpenAI, Google, Mistral) or \
                 additive (beside it: Anthropic)"
                    .to_owned(),
            ),
        }
    }
}
