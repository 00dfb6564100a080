//! When to try again.

use std::time::Duration;

use serde::Deserialize;

use crate::VendorError;

/// How often, and after which delay, an attempt is repeated. It has no clock and no chance.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RetryPolicy {
    /// All attempts, the first one included.
    pub max_attempts: u32,
    /// The delay after the first failure, in seconds. It doubles with each further one.
    pub first_delay_seconds: f64,
    /// No backoff is longer. If a vendor asks for more, there is no further attempt; jitter can add up
    /// to a half of what it asked for.
    pub max_delay_seconds: f64,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            max_attempts: 3,
            first_delay_seconds: 0.5,
            max_delay_seconds: 30.0,
        }
    }
}

impl RetryPolicy {
    /// The delay before the next attempt; `None` if there should be none. `attempt` counts the
    /// attempts that were made, and `jitter` is a random number from 0 to 1.
    ///
    /// Jitter only adds to what the vendor asked for, so that nobody returns early and not all
    /// return together.
    pub fn delay(&self, attempt: u32, error: &VendorError, jitter: f64) -> Option<Duration> {
        if attempt >= self.max_attempts || !error.may_retry() {
            return None;
        }
        let doublings = attempt.saturating_sub(1).min(30);
        let backoff = self.first_delay_seconds * f64::from(1u32 << doublings);
        let jitter = jitter.clamp(0.0, 1.0);
        let seconds = match error.retry_after().map(|it| it.as_secs_f64()) {
            Some(asked) if asked > self.max_delay_seconds => return None,
            Some(asked) => asked + jitter * asked.max(backoff) / 2.0,
            None => backoff.min(self.max_delay_seconds) * (0.5 + jitter / 2.0),
        };
        Duration::try_from_secs_f64(seconds).ok()
    }
}
