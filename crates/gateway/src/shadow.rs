//! A second arm that answers beside the first, unseen by the client.

use rust_decimal::Decimal;
use serde::Deserialize;

/// Sends a share of the requests to a second arm as well. Its answer is measured and dropped.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Shadow {
    /// The arm's name.
    pub arm: String,
    /// The share of units whose requests are sent there too, above 0 and at most 1.
    #[serde(default = "whole")]
    pub share: f64,
    /// Requests in flight at most; those beyond are skipped and counted.
    #[serde(default = "default_concurrency")]
    pub max_concurrent: usize,
    /// What the shadow may cost a day (UTC), in US dollars.
    pub usd_per_day: Option<Decimal>,
}

fn whole() -> f64 {
    1.0
}

fn default_concurrency() -> usize {
    4
}
