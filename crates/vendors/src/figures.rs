//! The figures of a vendor, for metrics.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use rust_decimal::Decimal;

use crate::BreakerState;

/// What a vendor did since the start, and what it does now.
#[derive(Clone, Debug)]
pub struct VendorFigures {
    /// Ended attempts by result: `ok`, `cancelled`, or [`VendorError::kind`](crate::VendorError::kind).
    pub attempts: BTreeMap<&'static str, u64>,
    /// Attempts whose cost is unknown.
    pub unknown_bills: u64,
    /// US dollars spent today (UTC). An unknown cost counts as the most that it can be, if
    /// that is known.
    pub spent_today_usd: Decimal,
    /// US dollars that running attempts may still cost.
    pub reserved_usd: Decimal,
    /// The cap of a day.
    pub usd_per_day: Option<Decimal>,
    /// Whether the vendor is asked at all.
    pub breaker: BreakerState,
    /// Attempts that are running.
    pub in_flight: usize,
}

/// Counts the ends of attempts.
#[derive(Debug, Default)]
pub(crate) struct AttemptCounts(Mutex<Counts>);

#[derive(Clone, Debug, Default)]
pub(crate) struct Counts {
    pub(crate) attempts: BTreeMap<&'static str, u64>,
    pub(crate) unknown_bills: u64,
}

impl AttemptCounts {
    pub(crate) fn count(&self, result: &'static str, is_bill_unknown: bool) {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *counts.attempts.entry(result).or_default() += 1;
        counts.unknown_bills += u64::from(is_bill_unknown);
    }

    pub(crate) fn counts(&self) -> Counts {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}
