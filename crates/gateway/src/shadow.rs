//! A second arm that answers beside the first, unseen by the client.

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
    /// Pairs of answers that are kept in memory, for people to compare; the oldest are dropped. Their texts
    /// can be read by whoever may read `/metrics`.
    #[serde(default)]
    pub keep_pairs: usize,
}

fn whole() -> f64 {
    1.0
}

fn default_concurrency() -> usize {
    4
}
