//! A limit on the device time of several requests together.

use std::sync::atomic::{AtomicI64, Ordering};

/// Device time that requests may still use. Requests that share a budget end with the step that uses
/// it up, so that together they use at most one step more than it had. Callers fill it; the engine
/// takes from it after each step.
#[derive(Debug, Default)]
pub struct DeviceBudget {
    /// Negative if the last step used more than was left.
    left_picoseconds: AtomicI64,
}

const PICOSECONDS: f64 = 1e12;

impl DeviceBudget {
    /// A budget of this many seconds.
    pub fn new(seconds: f64) -> Self {
        let budget = Self::default();
        budget.add(seconds);
        budget
    }

    /// Adds seconds, or takes them if they are negative.
    pub fn add(&self, seconds: f64) {
        // A conversion of a float saturates. So must the sum.
        let picoseconds = (seconds * PICOSECONDS).round() as i64;
        let add = |left: i64| Some(left.saturating_add(picoseconds));
        let added = self
            .left_picoseconds
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, add);
        debug_assert!(added.is_ok(), "the update has a value each time");
    }

    /// What is left in seconds; negative if more was used.
    pub fn left_seconds(&self) -> f64 {
        self.left_picoseconds.load(Ordering::Relaxed) as f64 / PICOSECONDS
    }

    /// Whether nothing is left.
    pub fn is_used_up(&self) -> bool {
        self.left_picoseconds.load(Ordering::Relaxed) <= 0
    }
}
