//! Second answers that nobody but the experiment sees.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::metrics::ShadowCounts;

/// The shadows of all routes: how many run, and what became of them. They survive a change of the routes.
#[derive(Default)]
pub(crate) struct Shadows {
    by_route: Mutex<HashMap<String, ShadowState>>,
}

struct ShadowState {
    places: Arc<Semaphore>,
    max_concurrent: usize,
    counts: ShadowCounts,
}

impl Shadows {
    /// The counts by route.
    pub(crate) fn counts(&self) -> Vec<(String, ShadowCounts)> {
        let by_route = self.locked();
        let counts = by_route
            .iter()
            .map(|(route, state)| (route.clone(), state.counts));
        let mut counts: Vec<_> = counts.collect();
        counts.sort_by(|(a, _), (b, _)| a.cmp(b));
        counts
    }

    /// Takes a place for a shadow; `None` if all are taken, which is counted.
    pub(super) fn place(&self, route: &str, max_concurrent: usize) -> Option<OwnedSemaphorePermit> {
        let mut by_route = self.locked();
        let fresh = || ShadowState {
            places: Arc::new(Semaphore::new(max_concurrent)),
            max_concurrent,
            counts: ShadowCounts::default(),
        };
        let state = by_route.entry(route.to_owned()).or_insert_with(fresh);
        if state.max_concurrent != max_concurrent {
            state.places = Arc::new(Semaphore::new(max_concurrent));
            state.max_concurrent = max_concurrent;
        }
        let place = state.places.clone().try_acquire_owned().ok();
        if place.is_none() {
            state.counts.skipped += 1;
        }
        place
    }

    /// Counts a shadow that has ended.
    pub(super) fn count(&self, route: &str, is_answered: bool) {
        if let Some(state) = self.locked().get_mut(route) {
            let counts = &mut state.counts;
            let count = if is_answered {
                &mut counts.answered
            } else {
                &mut counts.failed
            };
            *count += 1;
        }
    }

    fn locked(&self) -> MutexGuard<'_, HashMap<String, ShadowState>> {
        // The code under the lock does not panic.
        self.by_route.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
