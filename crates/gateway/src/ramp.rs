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
        let step = self.step(now);
        step.and_then(|step| self.shares.get(step).copied())
            .unwrap_or(0.0)
    }

    /// When the present share began, in microseconds since 1970.
    pub(crate) fn step_began_us(&self, now: Timestamp) -> i64 {
        let Some(step) = self.step(now) else {
            return i64::MIN;
        };
        let seconds = step as f64 * self.step_hours * 3600.0;
        self.begins
            .as_microsecond()
            .saturating_add((seconds * 1e6) as i64)
    }

    /// The number of the present step; `None` before the first.
    fn step(&self, now: Timestamp) -> Option<usize> {
        let hours = (now.as_millisecond() - self.begins.as_millisecond()) as f64 / 3_600_000.0;
        let last = self.shares.len().saturating_sub(1);
        (hours >= 0.0).then(|| ((hours / self.step_hours) as usize).min(last))
    }
}
