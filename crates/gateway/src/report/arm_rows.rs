//! The rows of an arm, summed by unit.

use std::collections::BTreeMap;

use farthing_ledger::Picoseconds;
use rust_decimal::Decimal;

/// The requests of one unit in one arm.
#[derive(Clone, Debug, Default)]
pub(super) struct UnitRow {
    pub(super) requests: u32,
    /// Requests with an attempt.
    pub(super) attempted: u32,
    /// Requests that ended with an answer, or whose caller left.
    pub(super) answered: u32,
    pub(super) failed: u32,
    pub(super) empty: u32,
    pub(super) rated: u32,
    pub(super) accepted: u32,
    pub(super) output_tokens: f64,
    pub(super) tokens: f64,
    pub(super) device_seconds: f64,
    /// Our device time at its price.
    pub(super) busy_usd: f64,
    pub(super) vendor_usd: f64,
    pub(super) ttft_seconds: Vec<f64>,
}

/// Exact sums and counts of an arm.
#[derive(Clone, Debug, Default)]
pub(super) struct ArmTotals {
    pub(super) aborted: u64,
    pub(super) attempts: u64,
    pub(super) failed_attempts: u64,
    pub(super) retries: u64,
    pub(super) fallbacks: u64,
    /// Requests by the arm that served their last attempt.
    pub(super) served_by: BTreeMap<String, u64>,
    pub(super) input_tokens: u64,
    pub(super) cached_tokens: u64,
    pub(super) output_tokens: u64,
    pub(super) own: OwnTime,
    pub(super) vendor_usd: Decimal,
    pub(super) vendor_attempts: u64,
    pub(super) estimated_bills: u64,
    pub(super) unknown_bills: u64,
    /// Attempts, tokens and time of our own engine, by adapter; the base model's name is empty.
    pub(super) adapters: BTreeMap<String, AdapterTotals>,
}

/// What one adapter did.
#[derive(Clone, Debug, Default)]
pub(super) struct AdapterTotals {
    pub(super) attempts: u64,
    pub(super) tokens: u64,
    pub(super) own: OwnTime,
}

/// Device time by price, so that its cost is exact.
#[derive(Clone, Debug, Default)]
pub(super) struct OwnTime {
    by_price: Vec<(Option<Decimal>, Picoseconds)>,
}

/// An arm.
#[derive(Clone, Debug, Default)]
pub(super) struct ArmRows {
    pub(super) name: String,
    /// In the order of their names.
    pub(super) units: Vec<(String, UnitRow)>,
    pub(super) totals: ArmTotals,
}

impl OwnTime {
    pub(super) fn add(&mut self, price: Option<Decimal>, time: Picoseconds) {
        if time == Picoseconds::default() {
            return;
        }
        match self.by_price.iter_mut().find(|(known, _)| *known == price) {
            Some((_, sum)) => *sum += time,
            None => self.by_price.push((price, time)),
        }
    }

    pub(super) fn time(&self) -> Picoseconds {
        self.by_price.iter().map(|(_, time)| *time).sum()
    }

    /// The cost; `None` if some of the time has no price.
    pub(super) fn busy_usd(&self) -> Option<Decimal> {
        let hour = Decimal::from(3600);
        let costs = self
            .by_price
            .iter()
            .map(|(price, time)| time.seconds().checked_mul((*price)?)?.checked_div(hour));
        costs.sum()
    }
}

impl ArmRows {
    /// The sum of a figure over all units.
    pub(super) fn sum(&self, of: impl Fn(&UnitRow) -> f64) -> f64 {
        self.units.iter().map(|(_, unit)| of(unit)).sum()
    }

    /// The sum of a count over all units.
    pub(super) fn count(&self, of: impl Fn(&UnitRow) -> u32) -> u64 {
        self.units.iter().map(|(_, unit)| u64::from(of(unit))).sum()
    }

    /// Whether its cost is only a lower limit.
    pub(super) fn is_at_least(&self) -> bool {
        self.totals.unknown_bills > 0 || self.totals.own.busy_usd().is_none()
    }

    /// Whether most of its answers came from our own device.
    pub(super) fn is_own(&self) -> bool {
        let own: u64 = self.totals.adapters.values().map(|it| it.attempts).sum();
        own > 0 && own >= self.totals.vendor_attempts
    }
}
