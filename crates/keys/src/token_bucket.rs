//! A rate of tokens.

use std::num::NonZeroU32;
use std::time::{Duration, Instant};

/// A bucket that holds the tokens of one minute and fills at that rate. Unlike a leaky bucket of
/// requests (`governor`), it may owe: how many tokens an answer has is known only once they are
/// generated, and what is generated beyond the limit is paid back before the next request.
pub(crate) struct TokenBucket {
    per_minute: NonZeroU32,
    /// Negative while it owes.
    level: f64,
    filled_at: Instant,
}

impl TokenBucket {
    /// A full bucket.
    pub(crate) fn new(per_minute: NonZeroU32, now: Instant) -> Self {
        Self {
            per_minute,
            level: f64::from(per_minute.get()),
            filled_at: now,
        }
    }

    /// Takes the tokens of a prompt.
    ///
    /// # Errors
    /// There are too few: the time until there are enough. A prompt of more than a minute's tokens
    /// waits for a full bucket for ever.
    pub(crate) fn take(&mut self, tokens: usize, now: Instant) -> Result<(), Duration> {
        match self.time_until(tokens, now) {
            Duration::ZERO => {
                self.level -= tokens as f64;
                Ok(())
            }
            wait => Err(wait),
        }
    }

    /// The time until there are this many tokens; zero if there are.
    pub(crate) fn time_until(&mut self, tokens: usize, now: Instant) -> Duration {
        self.fill(now);
        self.time_for(tokens as f64 - self.level)
    }

    /// Counts tokens that were generated.
    pub(crate) fn count(&mut self, tokens: usize, now: Instant) {
        self.fill(now);
        self.level -= tokens as f64;
    }

    pub(crate) fn remaining(&mut self, now: Instant) -> u32 {
        self.fill(now);
        self.level.max(0.0) as u32
    }

    /// The time until it is full.
    pub(crate) fn reset_after(&mut self, now: Instant) -> Duration {
        self.fill(now);
        self.time_for(f64::from(self.per_minute.get()) - self.level)
    }

    fn fill(&mut self, now: Instant) {
        let seconds = now.saturating_duration_since(self.filled_at).as_secs_f64();
        let full = f64::from(self.per_minute.get());
        self.level = (self.level + seconds * full / 60.0).min(full);
        self.filled_at = self.filled_at.max(now);
    }

    fn time_for(&self, tokens: f64) -> Duration {
        Duration::from_secs_f64(tokens.max(0.0) * 60.0 / f64::from(self.per_minute.get()))
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;
    use std::time::{Duration, Instant};

    use super::TokenBucket;

    #[test]
    fn debts_are_paid_before_the_next_prompt() {
        let now = Instant::now();
        let at = |seconds| now + Duration::from_secs(seconds);
        let mut bucket = TokenBucket::new(NonZeroU32::new(60).unwrap(), now);
        assert_eq!(bucket.take(50, now), Ok(()));
        bucket.count(40, now);
        assert_eq!(bucket.remaining(now), 0);
        assert_eq!(bucket.take(1, now), Err(Duration::from_secs(31)));
        assert_eq!(bucket.take(1, at(31)), Ok(()));
        assert_eq!(bucket.remaining(at(41)), 10);
        assert_eq!(bucket.reset_after(at(41)), Duration::from_secs(50));
        // It never holds more than one minute's tokens.
        assert_eq!(bucket.remaining(at(10_000)), 60);
        assert!(bucket.take(61, at(20_000)).is_err());
    }
}
