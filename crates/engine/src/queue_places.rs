//! Places in the queue.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use farthing_scheduler::AdapterId;

/// Limits how many sequences may wait or run at once.
///
/// If adapters are served, no kind of sequence (of one adapter, or of the base model) may take all
/// places: each may hold up to [`SHARE`] times the number of free places. One flood leaves a fifth
/// of the places free. More floods leave fewer, but always some (dynamic thresholds: Choudhury and
/// Hahne, IEEE/ACM Transactions on Networking, 1998).
pub(crate) struct QueuePlaces {
    limit: usize,
    serves_adapters: bool,
    taken: Mutex<Taken>,
}

const SHARE: usize = 4;

#[derive(Default)]
struct Taken {
    total: usize,
    by_kind: HashMap<Option<AdapterId>, usize>,
}

/// The place of one sequence. Dropping it frees the place.
pub(crate) struct Place {
    places: Arc<QueuePlaces>,
    kind: Option<AdapterId>,
}

impl QueuePlaces {
    pub(crate) fn new(limit: usize, serves_adapters: bool) -> Self {
        Self {
            limit,
            serves_adapters,
            taken: Mutex::default(),
        }
    }

    /// Takes places for sequences of one kind; `None` if there are too few.
    pub(crate) fn take(
        self: &Arc<Self>,
        kind: Option<AdapterId>,
        count: usize,
    ) -> Option<Vec<Place>> {
        let mut taken = self.taken();
        let total = taken.total.checked_add(count)?;
        let free = self.limit.checked_sub(total)?;
        let of_kind = taken.by_kind.get(&kind).copied().unwrap_or(0) + count;
        if self.serves_adapters && of_kind > SHARE * free {
            return None;
        }
        taken.total = total;
        taken.by_kind.insert(kind, of_kind);
        let place = || Place {
            places: self.clone(),
            kind,
        };
        Some(std::iter::repeat_with(place).take(count).collect())
    }

    /// The most places that sequences of one kind can have.
    pub(crate) fn most_of_one_kind(&self) -> usize {
        if self.serves_adapters {
            self.limit * SHARE / (SHARE + 1)
        } else {
            self.limit
        }
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        // The code under the lock does not panic.
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.taken();
        taken.total -= 1;
        if let Some(of_kind) = taken.by_kind.get_mut(&self.kind) {
            *of_kind -= 1;
            if *of_kind == 0 {
                taken.by_kind.remove(&self.kind);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use farthing_scheduler::AdapterId;

    use super::QueuePlaces;

    fn adapter(name: u8) -> Option<AdapterId> {
        Some(AdapterId([name; 32]))
    }

    #[test]
    fn without_adapters_the_base_model_may_take_all() {
        let places = Arc::new(QueuePlaces::new(10, false));
        let all = places.take(None, 10);
        assert!(all.is_some() && places.take(None, 1).is_none());
        drop(all);
        assert!(places.take(None, 11).is_none());
        assert!(places.take(None, 10).is_some());
    }

    #[test]
    fn the_most_of_one_kind_find_places_in_an_empty_queue() {
        for limit in [2, 5, 9, 10, 1024] {
            for serves_adapters in [false, true] {
                let places = Arc::new(QueuePlaces::new(limit, serves_adapters));
                let most = places.most_of_one_kind();
                assert!(places.take(None, most + 1).is_none());
                assert!(places.take(adapter(1), most).is_some());
            }
        }
    }

    #[test]
    fn floods_leave_room_for_everybody_else() {
        let places = Arc::new(QueuePlaces::new(1000, true));
        let mut taken = Vec::new();
        let mut flood = |kind| {
            let mut count = 0;
            while let Some(place) = places.take(kind, 1) {
                taken.extend(place);
                count += 1;
            }
            count
        };
        assert_eq!(flood(None), 800);
        assert_eq!(flood(adapter(1)), 160);
        // Each further flood still finds some places.
        assert_eq!([flood(adapter(2)), flood(adapter(3))], [32, 6]);
        assert_eq!(flood(None), 0);
        taken.truncate(800);
        assert!(places.take(adapter(4), 100).is_some());
        drop(taken);
        assert!(places.take(adapter(4), 800).is_some());
    }
}
