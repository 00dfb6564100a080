//! State and counters of the ledger.

use std::sync::{Mutex, MutexGuard, PoisonError};

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
    /// Why the latest flush failed; `None` after a successful one.
    pub error: Option<String>,
}

/// The status shared by the writer and its callers.
#[derive(Debug)]
pub(crate) struct SharedStatus(Mutex<LedgerStatus>);

impl SharedStatus {
    pub(crate) fn new(places: usize) -> Self {
        Self(Mutex::new(LedgerStatus {
            places,
            ..LedgerStatus::default()
        }))
    }

    pub(crate) fn get(&self) -> MutexGuard<'_, LedgerStatus> {
        // After a panic the counters are still usable.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
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
