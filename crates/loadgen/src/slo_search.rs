//! Searches the highest rate of requests at which enough of them keep the SLO.

use farthing_economics::statistics::{Interval, wilson_interval};
use serde::Serialize;

/// Parameters of the search. Rates are doubled until one breaks the SLO; then the gap is halved.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SloSearch {
    /// Fraction of requests that has to keep the SLO, between 0 and 1.
    pub attainment: f64,
    /// The first rate, in requests per second.
    pub first_rate: f64,
    /// The search ends when the gap is at most this fraction of the rate.
    pub resolution: f64,
    /// Maximum number of rates.
    pub max_rates: usize,
}

/// How many requests of a load kept the SLO.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tally {
    /// Requests that kept it.
    pub good: u64,
    /// All requests, including failed ones.
    pub total: u64,
}

/// A rate that was measured.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SloProbe {
    /// Requests per second.
    pub rate: f64,
    /// Requests that kept the SLO, over all tries.
    pub good: u64,
    /// All requests.
    pub total: u64,
    /// Number of tries.
    pub tries: usize,
    /// Wilson's interval of the fraction of good requests. Its lower end is a bound at 95 %.
    pub share: Interval,
    /// Whether the fraction is high enough.
    pub is_kept: bool,
}

/// The result of a search.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SloRate {
    /// The highest rate that kept the SLO; `None` if no measured rate did.
    pub rate: Option<f64>,
    /// The lowest rate above it that did not; `None` if none was reached.
    pub broken_at: Option<f64>,
    /// All measured rates, in order.
    pub probes: Vec<SloProbe>,
}

/// Two-sided, so that either end is a bound at 95 %.
const CONFIDENCE: f64 = 0.9;
/// A bad try may be chance or other load on the machine, so a rate is dropped after the second one.
const MAX_TRIES: usize = 3;
/// The search does not go below this fraction of the first rate.
const LOWEST: f64 = 1.0 / 256.0;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Kept,
    Broken,
    Unclear,
}

impl SloSearch {
    /// Runs the search. `load` sends a load at a rate and counts.
    ///
    /// # Errors
    /// The first error of `load`.
    pub async fn run<E>(
        &self,
        mut load: impl AsyncFnMut(f64) -> Result<Tally, E>,
    ) -> Result<SloRate, E> {
        let mut probes = Vec::new();
        let (mut kept, mut broken): (Option<f64>, Option<f64>) = (None, None);
        let mut rate = self.first_rate;
        while probes.len() < self.max_rates {
            let probe = self.probe(rate, &mut load).await?;
            if probe.is_kept {
                kept = Some(rate)
            } else {
                broken = Some(rate)
            }
            probes.push(probe);
            rate = match (kept, broken) {
                (Some(kept), Some(broken)) if broken <= kept * (1.0 + self.resolution) => break,
                // The geometric mean, because rates span powers of two.
                (Some(kept), Some(broken)) => (kept * broken).sqrt(),
                (_, None) => rate * 2.0,
                (None, Some(_)) if rate / 2.0 < self.first_rate * LOWEST => break,
                (None, Some(_)) => rate / 2.0,
            };
        }
        Ok(SloRate {
            rate: kept,
            broken_at: broken,
            probes,
        })
    }

    async fn probe<E>(
        &self,
        rate: f64,
        load: &mut impl AsyncFnMut(f64) -> Result<Tally, E>,
    ) -> Result<SloProbe, E> {
        let mut pool = Tally { good: 0, total: 0 };
        let mut verdicts = Vec::new();
        let count =
            |verdicts: &[Verdict], verdict| verdicts.iter().filter(|it| **it == verdict).count();
        let is_kept = loop {
            let tally = load(rate).await?;
            pool.good += tally.good;
            pool.total += tally.total;
            verdicts.push(self.verdict(tally));
            let is_kept_by_all = self.verdict(pool) == Verdict::Kept;
            let broken = count(&verdicts, Verdict::Broken);
            if broken == 0 && is_kept_by_all || count(&verdicts, Verdict::Kept) >= 2 {
                break true;
            }
            if broken >= 2 {
                break false;
            }
            if verdicts.len() == MAX_TRIES {
                break is_kept_by_all;
            }
        };
        Ok(SloProbe {
            rate,
            good: pool.good,
            total: pool.total,
            tries: verdicts.len(),
            share: share(pool),
            is_kept,
        })
    }

    fn verdict(&self, tally: Tally) -> Verdict {
        let share = share(tally);
        if share.low >= self.attainment {
            Verdict::Kept
        } else if share.high < self.attainment {
            Verdict::Broken
        } else {
            Verdict::Unclear
        }
    }
}

/// For zero requests the interval is unbounded.
fn share(tally: Tally) -> Interval {
    let nothing = Interval {
        low: 0.0,
        high: 1.0,
    };
    wilson_interval(tally.good, tally.total, CONFIDENCE).unwrap_or(nothing)
}

#[cfg(test)]
mod tests;
