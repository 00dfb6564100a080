//! An arm whose weight grows step by step.

use jiff::Timestamp;
use serde::Deserialize;

/// Raises the weight of one arm at fixed times. Units that an earlier step moved stay moved.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ramp {
    /// The arm's name.
    pub arm: String,
    /// When the first step begins, in RFC 3339.
    pub begins: Timestamp,
    /// How long each step lasts, in hours.
    pub step_hours: f64,
    /// The arm's share of all units at each step, ascending, each above 0 and at most 1. The last stays.
    pub shares: Vec<f64>,
}

impl Ramp {
    /// The arm's share at a moment; 0 before the first step.
    pub fn share(&self, now: Timestamp) -> f64 {
        let hours = (now.as_millisecond() - self.begins.as_millisecond()) as f64 / 3_600_000.0;
        if hours < 0.0 {
            return 0.0;
        }
        let step = (hours / self.step_hours) as usize;
        let last = self.shares.len().saturating_sub(1);
        self.shares.get(step.min(last)).copied().unwrap_or(0.0)
    }
}
