//! One key in the key file.

use std::num::NonZeroU32;

use jiff::Timestamp;
use rust_decimal::Decimal;
use serde::{Deserialize, Deserializer, Serialize, de};

use crate::{AllowList, SecretHash};

/// A key: its hash and its terms.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Key {
    /// The part of the key's text that is no secret. Unique in the file.
    pub id: String,
    /// The key's name in the ledger. Unique among the keys that are not revoked.
    pub name: String,
    /// The hash of the key's text.
    pub sha256: SecretHash,
    /// When it was made.
    pub created: Timestamp,
    /// When it was revoked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked: Option<Timestamp>,
    /// What it allows.
    pub terms: Terms,
}

/// What a key allows. A limit that is absent does not apply.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Terms {
    /// Who pays. Keys of one tenant share a prefix cache.
    pub tenant: String,
    /// The base models that it may use.
    #[serde(default, skip_serializing_if = "AllowList::is_all")]
    pub models: AllowList,
    /// The adapters that it may use.
    #[serde(default, skip_serializing_if = "AllowList::is_all")]
    pub adapters: AllowList,
    /// Requests per minute, also those that are refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requests_per_minute: Option<NonZeroU32>,
    /// Tokens per minute: those of prompts and of answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokens_per_minute: Option<NonZeroU32>,
    /// US dollars of device time per day in UTC.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "usd_per_day"
    )]
    pub usd_per_day: Option<Decimal>,
    /// The first moment at which it is not accepted any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<Timestamp>,
}

/// A string, so that no amount is rounded to a float.
fn usd_per_day<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Decimal>, D::Error> {
    let invalid = || de::Error::custom("usd_per_day must be a string such as \"10.00\"");
    let text = String::deserialize(deserializer).map_err(|_| invalid())?;
    text.parse().map(Some).map_err(|_| invalid())
}
