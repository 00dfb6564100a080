//! Limits guesses.

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::time::Duration;

use governor::clock::{Clock, DefaultClock};
use governor::state::keyed::HashMapStateStore;
use governor::{Quota, RateLimiter};

use crate::http::error::ApiError;

/// Wrong keys per minute and address. More get a 429 instead of a 401, which costs a guesser time. A
/// right key is always admitted: behind a proxy, all callers have one address.
const PER_MINUTE: NonZeroU32 = NonZeroU32::new(30).expect("it is not zero");

/// Addresses that are remembered at once. While all are in use, every wrong key gets a 429.
const MAX_ADDRESSES: usize = 100_000;

/// An address with one wrong key is remembered for as long.
const PAUSE: Duration = Duration::from_secs(2);

/// Counts wrong keys by address.
pub(super) struct WrongKeys {
    limiter: RateLimiter<IpAddr, HashMapStateStore<IpAddr>, DefaultClock>,
}

impl Default for WrongKeys {
    fn default() -> Self {
        Self {
            limiter: RateLimiter::hashmap(Quota::per_minute(PER_MINUTE)),
        }
    }
}

impl WrongKeys {
    /// Counts a wrong key.
    ///
    /// # Errors
    /// The address has sent too many.
    pub(super) fn count(&self, peer: Option<IpAddr>) -> Result<(), ApiError> {
        let Some(peer) = peer else {
            return Ok(());
        };
        if self.limiter.len() >= MAX_ADDRESSES {
            // Some are forgotten within a second.
            return Err(ApiError::TooManyWrongKeys { retry_after: PAUSE });
        }
        self.limiter.check_key(&network(peer)).map_err(|refusal| {
            let retry_after = refusal.wait_time_from(DefaultClock::default().now());
            ApiError::TooManyWrongKeys { retry_after }
        })
    }

    /// Forgets addresses that have waited long enough.
    pub(super) fn forget_old(&self) {
        self.limiter.retain_recent();
    }
}

/// One IPv6 subscriber has at least a /64.
fn network(peer: IpAddr) -> IpAddr {
    match peer.to_canonical() {
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            IpAddr::from([a, b, c, d, 0, 0, 0, 0])
        }
        address => address,
    }
}
