//! Quantiles of latencies of the last minutes.

#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::time::Instant;

use farthing_api::Quantiles;

use crate::costs::{SAMPLE_EVERY, WINDOW};

/// Counts by latency, in buckets that grow by 5 %: vLLM's buckets are too coarse for quantiles.
#[derive(Debug, Default)]
pub(super) struct RecentTimes {
    /// Oldest first, each with its start.
    slots: VecDeque<(Instant, Box<[u32; BUCKETS]>)>,
}

/// The lower bound of the first bucket in seconds. Shorter times count as this.
const SHORTEST: f64 = 1e-5;
const GROWTH: f64 = 1.05;
/// The last bucket ends at 50 minutes.
const BUCKETS: usize = 400;

impl RecentTimes {
    pub(super) fn observe(&mut self, now: Instant, seconds: f64) {
        let is_new = |(began, _): &(Instant, _)| now.duration_since(*began) < SAMPLE_EVERY;
        if !self.slots.back().is_some_and(is_new) {
            self.forget(now);
            self.slots.push_back((now, Box::new([0; BUCKETS])));
        }
        let bucket = (seconds.max(SHORTEST) / SHORTEST).ln() / GROWTH.ln();
        let bucket = (bucket as usize).min(BUCKETS - 1);
        if let Some((_, counts)) = self.slots.back_mut() {
            counts[bucket] += 1;
        }
    }

    pub(super) fn quantiles(&mut self, now: Instant) -> Quantiles {
        self.forget(now);
        let mut counts = [0u64; BUCKETS];
        for (_, slot) in &self.slots {
            counts
                .iter_mut()
                .zip(slot.iter())
                .for_each(|(sum, count)| *sum += u64::from(*count));
        }
        let count = counts.iter().sum();
        let quantile = |share| quantile(&counts, count, share);
        Quantiles {
            count,
            p50_seconds: quantile(0.50),
            p95_seconds: quantile(0.95),
            p99_seconds: quantile(0.99),
        }
    }

    fn forget(&mut self, now: Instant) {
        let is_old = |began: Instant| now.duration_since(began) >= WINDOW;
        while self.slots.front().is_some_and(|(began, _)| is_old(*began)) {
            self.slots.pop_front();
        }
    }
}

/// The middle of the bucket that contains the quantile `share`.
fn quantile(counts: &[u64; BUCKETS], count: u64, share: f64) -> Option<f64> {
    let rank = (share * count as f64).ceil() as u64;
    let mut below = 0;
    let bucket = counts.iter().position(|in_bucket| {
        below += in_bucket;
        *in_bucket > 0 && below >= rank
    })?;
    Some(SHORTEST * GROWTH.powf(bucket as f64 + 0.5))
}
