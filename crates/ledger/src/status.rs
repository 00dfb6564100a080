//! State and counters of the ledger.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Counters since the ledger was opened, and its current state.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LedgerStatus {
    /// Rows written to the database.
    pub written: u64,
    /// Waiting rows and running requests.
    pub places_taken: usize,
    /// Maximum of `places_taken`.
    pub places: usize,
    /// How often there was no place.
    pub refused: u64,
    /// Failed flushes. Each is retried.
    pub failed_flushes: u64,
    /// Why the latest flush failed, or that the present one gets no answer. `None` otherwise.
    pub error: Option<String>,
}

/// A flush that takes longer is reported before it fails.
const SLOW_FLUSH: Duration = Duration::from_secs(2);

/// The status shared by the writer and its callers.
#[derive(Debug)]
pub(crate) struct SharedStatus {
    status: Mutex<LedgerStatus>,
    /// When the flush that is under way began.
    flush_began: Mutex<Option<Instant>>,
    /// The requests whose places were announced and that are not recorded yet, with the number of
    /// their places.
    announced: Mutex<HashMap<String, usize>>,
}

impl SharedStatus {
    pub(crate) fn new(places: usize) -> Self {
        Self {
            status: Mutex::new(LedgerStatus {
                places,
                ..LedgerStatus::default()
            }),
            flush_began: Mutex::new(None),
            announced: Mutex::default(),
        }
    }

    pub(crate) fn get(&self) -> MutexGuard<'_, LedgerStatus> {
        lock(&self.status)
    }

    /// The status as callers see it.
    pub(crate) fn seen_at(&self, now: Instant) -> LedgerStatus {
        let mut status = self.get().clone();
        let waited = lock(&self.flush_began).map(|began| now.saturating_duration_since(began));
        if let Some(waited) = waited.filter(|waited| *waited >= SLOW_FLUSH) {
            let waiting = || format!("no answer for {} s", waited.as_secs());
            status.error.get_or_insert_with(waiting);
        }
        status
    }

    /// A flush begins (`Some`) or has ended.
    pub(crate) fn set_flush_began(&self, began: Option<Instant>) {
        *lock(&self.flush_began) = began;
    }

    pub(crate) fn announce(&self, request_id: &str) {
        *lock(&self.announced)
            .entry(request_id.to_owned())
            .or_default() += 1;
    }

    pub(crate) fn retract(&self, request_id: &str) {
        let mut announced = lock(&self.announced);
        if let Some(places) = announced.get_mut(request_id) {
            *places -= 1;
            if *places == 0 {
                announced.remove(request_id);
            }
        }
    }

    pub(crate) fn is_announced(&self, request_id: &str) -> bool {
        lock(&self.announced).contains_key(request_id)
    }

    /// Places of requests that are not recorded yet and whose ids are known.
    pub(crate) fn announced_places(&self) -> usize {
        lock(&self.announced).values().sum()
    }

    /// Takes a place if one is free.
    pub(crate) fn take_place(&self) -> bool {
        let mut status = self.get();
        let is_free = status.places_taken < status.places;
        if is_free {
            status.places_taken += 1
        } else {
            status.refused += 1
        }
        is_free
    }

    pub(crate) fn free_places(&self, places: usize) {
        self.get().places_taken -= places;
    }
}

/// After a panic of another thread the values are still usable.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
