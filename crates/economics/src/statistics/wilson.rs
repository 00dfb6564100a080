//! The confidence interval of a proportion.

use super::{Interval, normal_quantile};

/// Wilson's score interval of a proportion, without continuity correction. `None` if there are no
/// trials, more successes than trials, or the confidence is not between 0 and 1.
///
/// It is two-sided: at a confidence of 0.9 its lower end is a lower bound at 0.95.
pub fn wilson_interval(successes: u64, trials: u64, confidence: f64) -> Option<Interval> {
    if trials == 0 || successes > trials || !(confidence > 0.0 && confidence < 1.0) {
        return None;
    }
    let z = normal_quantile(0.5 + confidence / 2.0);
    let (trials, share) = (trials as f64, successes as f64 / trials as f64);
    let shrink = 1.0 + z * z / trials;
    let centre = (share + z * z / (2.0 * trials)) / shrink;
    let spread = share * (1.0 - share) / trials + z * z / (4.0 * trials * trials);
    let half = z * spread.sqrt() / shrink;
    Some(Interval {
        low: (centre - half).max(0.0),
        high: (centre + half).min(1.0),
    })
}
