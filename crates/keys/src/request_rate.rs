//! A rate of requests.

use std::num::NonZeroU32;
use std::time::Duration;

use governor::clock::{Clock, DefaultClock};
use governor::middleware::StateInformationMiddleware;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};

/// Requests per minute. A minute's requests may come at once.
pub struct RequestRate {
    per_minute: NonZeroU32,
    limiter: RateLimiter<NotKeyed, InMemoryState, DefaultClock, StateInformationMiddleware>,
}

impl RequestRate {
    /// A rate of which nothing is used yet.
    pub fn new(per_minute: NonZeroU32) -> Self {
        let quota = Quota::per_minute(per_minute);
        Self {
            per_minute,
            limiter: RateLimiter::direct(quota).with_middleware(),
        }
    }

    /// Counts a request, and returns how many more may follow at once.
    ///
    /// # Errors
    /// There were too many: the time until the next one may come.
    pub fn take(&self) -> Result<u32, Duration> {
        match self.limiter.check() {
            Ok(state) => Ok(state.remaining_burst_capacity()),
            Err(refusal) => Err(refusal.wait_time_from(DefaultClock::default().now())),
        }
    }

    pub(crate) fn per_minute(&self) -> NonZeroU32 {
        self.per_minute
    }

    /// The time until `remaining` requests have become all of them.
    pub(crate) fn reset_after(&self, remaining: u32) -> Duration {
        let used = self.per_minute.get().saturating_sub(remaining);
        Duration::from_mins(1) / self.per_minute.get() * used
    }
}
