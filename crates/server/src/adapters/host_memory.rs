//! Adapters in host memory: the tier between disk and device.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use farthing_model::LoraAdapter;
use farthing_scheduler::AdapterId;
use tokio::sync::Notify;

use crate::request::backend::Backend;

/// The capacity of host memory for adapters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HostCapacity {
    /// The maximum number of adapters.
    pub adapters: usize,
    /// The maximum of their bytes together.
    pub bytes: usize,
}

/// The weights of an adapter in host memory. Dropping the last reference also frees its device
/// slot.
pub(crate) struct Generation {
    pub adapter: Arc<LoraAdapter>,
    pub engine: Arc<dyn Backend>,
}

impl Drop for Generation {
    fn drop(&mut self) {
        self.engine.retire_adapter(self.adapter.id());
    }
}

/// A generation in use. It stays in memory even if its name is removed. Dropping it may make room
/// for another.
#[derive(Clone)]
pub(crate) struct GenerationInUse {
    // The order of the fields matters: the generation is released before waiters are notified.
    generation: Arc<Generation>,
    _announcement: Announcement,
}

#[derive(Clone)]
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

/// The adapters in host memory. The least recently used is evicted first; pinned adapters and those
/// in use are not evicted.
pub(super) struct HostMemory {
    capacity: HostCapacity,
    residents: HashMap<AdapterId, Resident>,
    /// Generations without a name that requests still use.
    leaving: HashMap<AdapterId, Weak<Generation>>,
    /// Notified when a generation is no longer in use.
    freed: Arc<Notify>,
    /// Counts uses, to find the least recently used.
    uses: u64,
    evictions: u64,
}

struct Resident {
    generation: Arc<Generation>,
    last_use: u64,
    /// The number of pinned names that refer to it.
    pins: usize,
}

/// The result of making room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Room {
    Made,
    /// Everything that could be evicted is in use.
    Busy,
    /// It would not fit even if nothing were in use.
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

    /// Notified when a generation is no longer in use.
    pub(super) fn freed(&self) -> Arc<Notify> {
        self.freed.clone()
    }

    pub(super) fn evictions(&self) -> u64 {
        self.evictions
    }

    /// Looks a generation up and marks it as the most recently used.
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

    /// Inserts a generation. [`Self::make_room`] comes first.
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

    /// Evicts adapters until one of `size_bytes` fits.
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

    /// Removes a generation that no name refers to. Requests that use it continue.
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

    /// The number of adapters and their bytes, with those that only running requests keep in
    /// memory.
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
