//! How the ledger is doing.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// What the ledger has done since it was opened.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LedgerStatus {
    /// Rows in the database.
    pub written: u64,
    /// Rows that are on their way there, and requests that will come to one.
    pub places_taken: usize,
    /// How many of both there may be.
    pub places: usize,
    /// Times that there was no place.
    pub refused: u64,
    /// Flushes that failed; each is tried again.
    pub failed_flushes: u64,
    /// Why the latest flush failed; none once one has succeeded.
    pub error: Option<String>,
}

/// A status that the writer and its callers share.
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
        // Figures that a panic left half-counted are still figures.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a place, where there is one.
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
