//! The dollars of a day, with a cap that concurrency cannot overrun.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::civil::Date;
use rust_decimal::Decimal;

/// Counts what one vendor cost today (UTC), and what running attempts may still cost.
#[derive(Debug)]
pub(crate) struct DailySpend {
    cap: Option<Decimal>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    day: Date,
    spent: Decimal,
    reserved: Decimal,
}

/// Dollars that an attempt may cost at most, taken from the day's cap before anything is sent.
/// Dropping it without [`settle`](Self::settle) spends all of it.
#[derive(Debug)]
pub(crate) struct Reservation {
    spend: Arc<DailySpend>,
    day: Date,
    usd: Decimal,
    final_usd: Option<Decimal>,
}

impl DailySpend {
    pub(crate) fn new(cap: Option<Decimal>) -> Self {
        Self {
            cap,
            state: Mutex::default(),
        }
    }

    pub(crate) fn cap(&self) -> Option<Decimal> {
        self.cap
    }

    /// Checks and takes in one step. `None` if less is left of the cap.
    pub(crate) fn reserve(self: &Arc<Self>, usd: Decimal, today: Date) -> Option<Reservation> {
        let mut state = self.on(today);
        let total = state.spent.checked_add(state.reserved)?.checked_add(usd)?;
        if self.cap.is_some_and(|cap| total > cap) {
            return None;
        }
        state.reserved += usd;
        drop(state);
        Some(Reservation {
            spend: self.clone(),
            day: today,
            usd,
            final_usd: None,
        })
    }

    /// Adds what was spent earlier, such as before a restart.
    pub(crate) fn add(&self, usd: Decimal, day: Date) {
        let mut state = self.on(day);
        if state.day == day {
            state.spent = state.spent.saturating_add(usd);
        }
    }

    /// Spent and reserved dollars.
    pub(crate) fn today(&self, today: Date) -> (Decimal, Decimal) {
        let state = self.on(today);
        (state.spent, state.reserved)
    }

    /// The state, on a new day with nothing spent. A clock that is set back changes nothing.
    fn on(&self, today: Date) -> MutexGuard<'_, State> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if today > state.day {
            state.day = today;
            state.spent = Decimal::ZERO;
        }
        state
    }
}

impl Reservation {
    /// The most that the attempt can cost.
    pub(crate) fn usd(&self) -> Decimal {
        self.usd
    }

    /// Replaces the reservation by what the attempt cost, on the day on which that became known.
    pub(crate) fn settle(mut self, usd: Decimal, today: Date) {
        self.final_usd = Some(usd);
        self.day = today;
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        let mut state = self.spend.on(self.day);
        state.reserved -= self.usd;
        let usd = self.final_usd.unwrap_or(self.usd);
        state.spent = state.spent.saturating_add(usd);
    }
}

#[cfg(test)]
mod tests;
