//! How much of a key's rates is used.

use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::Terms;
use crate::request_rate::RequestRate;
use crate::token_bucket::TokenBucket;

/// The rates of one key, and what is used of them.
pub struct RateLimits {
    requests: Option<Requests>,
    tokens: Option<(NonZeroU32, Mutex<TokenBucket>)>,
}

struct Requests {
    rate: RequestRate,
    /// After the latest request.
    remaining: AtomicU32,
}

/// The state of one rate, for the `x-ratelimit-*` headers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateState {
    /// Per minute.
    pub limit: u32,
    /// What may be used at once.
    pub remaining: u32,
    /// Until everything may be used at once.
    pub reset_after: Duration,
}

/// Why a request is refused for now.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RateLimited {
    /// Too many requests.
    #[error(
        "Rate limit reached on requests per min (RPM): Limit {limit}. Please try again in {}.",
        seconds(*.retry_after)
    )]
    Requests {
        /// Per minute.
        limit: u32,
        /// Until the next request may come.
        retry_after: Duration,
    },
    /// Too many tokens.
    #[error(
        "Rate limit reached on tokens per min (TPM): Limit {limit}, Requested {requested}. Please \
         try again in {}.",
        seconds(*.retry_after)
    )]
    Tokens {
        /// Per minute.
        limit: u32,
        /// The tokens of the prompts.
        requested: usize,
        /// Until there are enough.
        retry_after: Duration,
    },
    /// More tokens than a minute allows.
    #[error(
        "Request too large on tokens per min (TPM): Limit {limit}, Requested {requested}. The prompt \
         must be reduced."
    )]
    TooLarge {
        /// Per minute.
        limit: u32,
        /// The tokens of the prompts.
        requested: usize,
    },
}

impl RateLimits {
    /// Rates of which nothing is used yet.
    pub(crate) fn new(terms: &Terms) -> Self {
        Self {
            requests: terms.requests_per_minute.map(|per_minute| Requests {
                rate: RequestRate::new(per_minute),
                remaining: AtomicU32::new(per_minute.get()),
            }),
            tokens: terms.tokens_per_minute.map(|per_minute| {
                let bucket = TokenBucket::new(per_minute, Instant::now());
                (per_minute, Mutex::new(bucket))
            }),
        }
    }

    /// Whether these are the rates of `terms`.
    pub(crate) fn are_of(&self, terms: &Terms) -> bool {
        let requests = self.requests.as_ref().map(|it| it.rate.per_minute());
        let tokens = self.tokens.as_ref().map(|(per_minute, _)| *per_minute);
        (requests, tokens) == (terms.requests_per_minute, terms.tokens_per_minute)
    }

    /// Counts a request.
    ///
    /// # Errors
    /// There were too many requests, or earlier answers had too many tokens.
    pub fn take_request(&self) -> Result<(), RateLimited> {
        if let Some(Requests { rate, remaining }) = &self.requests {
            match rate.take() {
                Ok(left) => remaining.store(left, Ordering::Relaxed),
                Err(retry_after) => {
                    remaining.store(0, Ordering::Relaxed);
                    return Err(RateLimited::Requests {
                        limit: rate.per_minute().get(),
                        retry_after,
                    });
                }
            }
        }
        // A prompt has at least one token: what earlier answers owe is paid first.
        let Some((limit, bucket)) = &self.tokens else {
            return Ok(());
        };
        let debt = locked(bucket).time_until(1, Instant::now());
        match debt {
            Duration::ZERO => Ok(()),
            retry_after => Err(RateLimited::Tokens {
                limit: limit.get(),
                requested: 1,
                retry_after,
            }),
        }
    }

    /// Counts the tokens of a request's prompts.
    ///
    /// # Errors
    /// There are too few tokens for them. Nothing is counted then.
    pub fn take_prompt(&self, tokens: usize) -> Result<(), RateLimited> {
        let Some((limit, bucket)) = &self.tokens else {
            return Ok(());
        };
        let limit = limit.get();
        if tokens > limit as usize {
            return Err(RateLimited::TooLarge {
                limit,
                requested: tokens,
            });
        }
        let taken = locked(bucket).take(tokens, Instant::now());
        taken.map_err(|retry_after| RateLimited::Tokens {
            limit,
            requested: tokens,
            retry_after,
        })
    }

    /// Counts generated tokens.
    pub fn count_generated(&self, tokens: usize) {
        if let Some((_, bucket)) = &self.tokens {
            locked(bucket).count(tokens, Instant::now());
        }
    }

    /// The state of the requests' rate.
    pub fn requests(&self) -> Option<RateState> {
        let Requests { rate, remaining } = self.requests.as_ref()?;
        let remaining = remaining.load(Ordering::Relaxed);
        Some(RateState {
            limit: rate.per_minute().get(),
            remaining,
            reset_after: rate.reset_after(remaining),
        })
    }

    /// The state of the tokens' rate.
    pub fn tokens(&self) -> Option<RateState> {
        let (limit, bucket) = self.tokens.as_ref()?;
        let mut bucket = locked(bucket);
        let now = Instant::now();
        Some(RateState {
            limit: limit.get(),
            remaining: bucket.remaining(now),
            reset_after: bucket.reset_after(now),
        })
    }
}

impl RateLimited {
    /// When it is worth trying again; `None` if never.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Requests { retry_after, .. } | Self::Tokens { retry_after, .. } => {
                Some(*retry_after)
            }
            Self::TooLarge { .. } => None,
        }
    }
}

fn locked(bucket: &Mutex<TokenBucket>) -> MutexGuard<'_, TokenBucket> {
    // The code under the lock does not panic.
    bucket.lock().unwrap_or_else(PoisonError::into_inner)
}

fn seconds(time: Duration) -> String {
    format!("{:.3}s", time.as_secs_f64())
}
