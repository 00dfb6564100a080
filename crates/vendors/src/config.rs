//! How a vendor is reached, from TOML.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use farthing_economics::{RateCard, parse_decimal};
use rust_decimal::Decimal;
use serde::{Deserialize, Deserializer};

/// The API that a vendor speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Dialect {
    /// Chat completions: OpenAI, and every server that speaks like it.
    OpenAi,
    /// Messages: Anthropic.
    Anthropic,
    /// `generateContent`: Google.
    Google,
}

/// A vendor, as its table in TOML says.
///
/// ```toml
/// dialect = "openai"
/// base_url = "https://api.openai.com/v1"
/// key_env = "OPENAI_API_KEY"
/// price_list = "openai"
/// usd_per_day = "20"
/// max_output_tokens = { gpt-4o-mini = 16384 }
/// timeouts = { first_content_seconds = 30 }
/// max_concurrent = 64
/// ```
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VendorConfig {
    /// The API that it speaks.
    pub dialect: Dialect,
    /// Where the API begins, such as `https://api.openai.com/v1`,
    /// `https://api.anthropic.com/v1` or
    /// `https://generativelanguage.googleapis.com/v1beta`.
    pub base_url: String,
    /// The environment variable that holds the key.
    pub key_env: Option<String>,
    /// The file that holds the key and nothing else.
    pub key_file: Option<PathBuf>,
    /// The vendor's name in the price book.
    pub price_list: Option<String>,
    /// Own prices by model, which come before the book's.
    #[serde(default)]
    pub prices: BTreeMap<String, RateCard>,
    /// The most US dollars that may be spent in a day (UTC).
    #[serde(default, deserialize_with = "dollars")]
    pub usd_per_day: Option<Decimal>,
    /// The most tokens of an answer by model, where it is not a documented one: needed by
    /// Anthropic's API, and by a cap if the client sets no limit.
    #[serde(default)]
    pub max_output_tokens: BTreeMap<String, u64>,
    /// Headers that go with every request, such as `OpenAI-Project`. None may hold a key.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// The time limits.
    #[serde(default)]
    pub timeouts: VendorTimeouts,
    /// The most attempts at the same time.
    pub max_concurrent: Option<usize>,
}

/// The time limits of an attempt, each with its own clock.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct VendorTimeouts {
    /// For the connection, TLS included.
    pub connect_seconds: f64,
    /// From the start of the attempt to the first content.
    pub first_content_seconds: f64,
    /// Between two signs of life of the vendor after the first content.
    pub idle_seconds: f64,
    /// For the whole attempt.
    pub total_seconds: f64,
}

impl fmt::Debug for VendorConfig {
    /// Without the headers, of which one may be a secret after all, and the address, which may hold one.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("VendorConfig");
        shown.field("dialect", &self.dialect);
        shown.field("price_list", &self.price_list);
        shown.finish_non_exhaustive()
    }
}

impl Default for VendorTimeouts {
    fn default() -> Self {
        Self {
            connect_seconds: 5.0,
            first_content_seconds: 60.0,
            idle_seconds: 30.0,
            total_seconds: 600.0,
        }
    }
}

/// Reads dollars in quotes, so that no float is in between.
fn dollars<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Decimal>, D::Error> {
    let text = String::deserialize(deserializer)?;
    let usd = parse_decimal(&text).filter(|usd| *usd > Decimal::ZERO);
    let error = || {
        serde::de::Error::custom(format!(
            "invalid amount {text:?}: expected US dollars above zero in quotes, such as \"20\""
        ))
    };
    usd.map(Some).ok_or_else(error)
}
