//! Caps in dollars a day, as budgets of device time.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use farthing_economics::HourlyPrice;
use farthing_engine::DeviceBudget;
use farthing_keys::Key;
use jiff::Timestamp;
use rust_decimal::Decimal;
use rust_decimal::prelude::ToPrimitive;

use crate::clock::SECONDS_PER_DAY;

/// The budget of each key with a cap. The engine takes each step's charge from it at once, so there is
/// no estimate to hold back and to settle: what is spent is what was measured.
pub(super) struct SpendingCaps {
    /// Without a price there are no caps.
    price: Option<HourlyPrice>,
    caps: Mutex<Caps>,
}

#[derive(Default)]
struct Caps {
    by_key: HashMap<String, Cap>,
    /// Device seconds of today, by the key's name, from before the start.
    spent_seconds: HashMap<String, f64>,
}

struct Cap {
    usd_per_day: Decimal,
    /// Days since 1970 in UTC.
    day: i64,
    budget: Arc<DeviceBudget>,
}

const SECONDS_PER_HOUR: f64 = 3600.0;

impl SpendingCaps {
    pub(super) fn new(price: Option<HourlyPrice>) -> Self {
        Self {
            price,
            caps: Mutex::default(),
        }
    }

    pub(super) fn count_spent(&self, key_name: &str, seconds: f64) {
        let mut caps = self.locked();
        *caps.spent_seconds.entry(key_name.to_owned()).or_default() += seconds;
    }

    /// The budget of a key, filled for the day of `now`; `None` if the key has no cap.
    pub(super) fn budget(&self, key: &Key, now: Timestamp) -> Option<Arc<DeviceBudget>> {
        let usd_per_day = key.terms.usd_per_day?;
        let price = self.price?;
        let day = now.as_second().div_euclid(SECONDS_PER_DAY);
        let mut caps = self.locked();
        let Caps {
            by_key,
            spent_seconds,
        } = &mut *caps;
        let cap = by_key.entry(key.id.clone()).or_insert_with(|| {
            let spent = spent_seconds.remove(&key.name).unwrap_or(0.0);
            Cap {
                usd_per_day,
                day,
                budget: Arc::new(DeviceBudget::new(
                    device_seconds(usd_per_day, price) - spent,
                )),
            }
        });
        if day > cap.day {
            // Another thread's charge between the two calls stays: it is added to, not replaced.
            let left = cap.budget.left_seconds();
            cap.budget.add(device_seconds(usd_per_day, price) - left);
            cap.day = day;
        } else if usd_per_day != cap.usd_per_day {
            let more = device_seconds(usd_per_day, price) - device_seconds(cap.usd_per_day, price);
            cap.budget.add(more);
        }
        cap.usd_per_day = usd_per_day;
        Some(cap.budget.clone())
    }

    fn locked(&self) -> MutexGuard<'_, Caps> {
        // The code under the lock does not panic.
        self.caps.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Device seconds that cost this much. More than a year of a machine is no limit for a day.
pub(super) fn device_seconds(usd: Decimal, price: HourlyPrice) -> f64 {
    const NO_LIMIT_SECONDS: f64 = 366.0 * SECONDS_PER_DAY as f64;
    let hours = usd.checked_div(price.usd()).and_then(|it| it.to_f64());
    hours.map_or(NO_LIMIT_SECONDS, |hours| {
        (hours * SECONDS_PER_HOUR).min(NO_LIMIT_SECONDS)
    })
}

#[cfg(test)]
mod tests;
