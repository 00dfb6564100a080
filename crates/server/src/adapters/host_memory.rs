//! The adapters in host memory: the tier between disk and device.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use farthing_model::LoraAdapter;
use farthing_scheduler::AdapterId;
use tokio::sync::Notify;

use crate::request::backend::Backend;

/// How much host memory adapters may take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HostCapacity {
    /// Adapters, at most.
    pub adapters: usize,
    /// Bytes of them all, at most.
    pub bytes: usize,
}

/// An adapter's weights in host memory. When the last who holds it lets go, the device lets go too.
pub(crate) struct Generation {
    pub adapter: Arc<LoraAdapter>,
    pub engine: Arc<dyn Backend>,
}

impl Drop for Generation {
    fn drop(&mut self) {
        self.engine.retire_adapter(self.adapter.id());
    }
}

/// A generation that somebody uses just now, so that it stays in memory whatever becomes of its
/// name. Dropping it may make room for another.
pub(crate) struct GenerationInUse {
    // In this order: who is told of the room must find it.
    generation: Arc<Generation>,
    _announcement: Announcement,
}

struct Announcement(Arc<Notify>);

impl Drop for Announcement {
    fn drop(&mut self) {
        self.0.notify_waiters();
    }
}

impl GenerationInUse {
    pub(crate) fn adapter(&self) -> &Arc<LoraAdapter> {
        &self.generation.adapter
    }
}

/// What host memory holds, the least recently used given up first, but nothing that is pinned or in
/// use.
pub(super) struct HostMemory {
    capacity: HostCapacity,
    residents: HashMap<AdapterId, Resident>,
    /// Given up by name, but still in use by requests.
    leaving: HashMap<AdapterId, Weak<Generation>>,
    /// Told when something is no longer in use.
    freed: Arc<Notify>,
    /// The clock of the least recently used.
    uses: u64,
    evictions: u64,
}

struct Resident {
    generation: Arc<Generation>,
    last_use: u64,
    /// How many names keep it here.
    pins: usize,
}

/// What became of a wish for room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Room {
    Made,
    /// All of it is in use just now.
    Busy,
    /// It would not fit if nothing were in use.
    Never,
}

impl HostMemory {
    pub(super) fn new(capacity: HostCapacity) -> Self {
        Self {
            capacity,
            residents: HashMap::new(),
            leaving: HashMap::new(),
            freed: Arc::default(),
            uses: 0,
            evictions: 0,
        }
    }

    pub(super) fn capacity(&self) -> HostCapacity {
        self.capacity
    }

    /// Completes when something is no longer in use.
    pub(super) fn freed(&self) -> Arc<Notify> {
        self.freed.clone()
    }

    pub(super) fn evictions(&self) -> u64 {
        self.evictions
    }

    /// A generation that is here, from now on the most recently used.
    pub(super) fn find(&mut self, id: AdapterId) -> Option<GenerationInUse> {
        if let Some(generation) = self.leaving.remove(&id).and_then(|it| it.upgrade()) {
            self.insert(generation);
        }
        self.uses += 1;
        let resident = self.residents.get_mut(&id)?;
        resident.last_use = self.uses;
        let generation = resident.generation.clone();
        Some(self.in_use(generation))
    }

    /// Takes in a generation for which room was made.
    pub(super) fn insert(&mut self, generation: Arc<Generation>) -> GenerationInUse {
        self.uses += 1;
        let resident = Resident {
            generation: generation.clone(),
            last_use: self.uses,
            pins: 0,
        };
        self.residents.insert(generation.adapter.id(), resident);
        self.in_use(generation)
    }

    /// Sees to it that an adapter of `size_bytes` fits.
    pub(super) fn make_room(&mut self, size_bytes: usize) -> Room {
        let HostCapacity { adapters, bytes } = self.capacity;
        let fits = |(count, total): (usize, usize)| {
            count < adapters && total.saturating_add(size_bytes) <= bytes
        };
        let pinned = self.residents.values().filter(|resident| resident.pins > 0);
        if !fits(sum(pinned.map(|resident| &*resident.generation))) {
            return Room::Never;
        }
        while !fits(self.used()) {
            let idle = self.residents.iter().filter(|(_, resident)| {
                resident.pins == 0 && Arc::strong_count(&resident.generation) == 1
            });
            let Some((&oldest, _)) = idle.min_by_key(|(_, resident)| resident.last_use) else {
                return Room::Busy;
            };
            self.residents.remove(&oldest);
            self.evictions += 1;
        }
        Room::Made
    }

    /// Gives up a generation that no name points to any more; who uses it may go on.
    pub(super) fn discard(&mut self, id: AdapterId) {
        if let Some(resident) = self.residents.remove(&id) {
            self.leaving.retain(|_, it| it.strong_count() > 0);
            self.leaving
                .insert(id, Arc::downgrade(&resident.generation));
        }
    }

    pub(super) fn pin(&mut self, id: AdapterId) {
        if let Some(resident) = self.residents.get_mut(&id) {
            resident.pins += 1;
        }
    }

    pub(super) fn unpin(&mut self, id: AdapterId) {
        if let Some(resident) = self.residents.get_mut(&id) {
            resident.pins = resident.pins.saturating_sub(1);
        }
    }

    pub(super) fn has(&self, id: AdapterId) -> bool {
        self.residents.contains_key(&id)
    }

    /// Adapters and their bytes, those included that are only here until their requests end.
    pub(super) fn used(&self) -> (usize, usize) {
        let (residents, bytes) = sum(self.residents.values().map(|it| &*it.generation));
        let leaving: Vec<_> = self.leaving.values().filter_map(Weak::upgrade).collect();
        let (still_used, their_bytes) = sum(leaving.iter().map(|it| &**it));
        (residents + still_used, bytes + their_bytes)
    }

    fn in_use(&self, generation: Arc<Generation>) -> GenerationInUse {
        GenerationInUse {
            generation,
            _announcement: Announcement(self.freed.clone()),
        }
    }
}

fn sum<'a>(generations: impl Iterator<Item = &'a Generation>) -> (usize, usize) {
    generations.fold((0, 0), |(count, bytes), generation| {
        (count + 1, bytes + generation.adapter.size_bytes())
    })
}
