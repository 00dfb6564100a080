//! The names of adapters, and the adapters in host memory.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use farthing_model::LoraAdapter;
use farthing_scheduler::AdapterId;

use super::host_memory::{GenerationInUse, HostCapacity, HostMemory};
use crate::clock::unix_seconds;

/// All names, and host memory.
pub(super) struct Registry {
    pub names: BTreeMap<String, Named>,
    pub host: HostMemory,
    pub counters: Counters,
}

/// An adapter with a name.
#[derive(Clone, Debug)]
pub(crate) struct Named {
    pub id: AdapterId,
    /// The path, as requested.
    pub root: String,
    /// The directory that it is read from.
    pub directory: PathBuf,
    pub pinned: bool,
    pub rank: usize,
    pub size_bytes: usize,
    /// Unix seconds.
    pub created: u64,
}

/// Counters since the start.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counters {
    /// Requests that found their adapter in host memory.
    pub hits: u64,
    /// Requests that did not.
    pub misses: u64,
    /// Adapters read from disk.
    pub loads: u64,
    pub load_seconds: f64,
    pub load_failures: u64,
    /// Names that were changed to another generation.
    pub swaps: u64,
}

/// The state of host memory.
#[derive(Clone, Debug, Default)]
pub(crate) struct HostFigures {
    pub counters: Counters,
    pub evictions: u64,
    /// All names, sorted.
    pub named: Vec<NamedFigures>,
    /// Bytes in host memory, with those that only running requests keep there.
    pub bytes: usize,
    pub capacity: HostCapacity,
}

/// The adapter of a name.
#[derive(Clone, Debug)]
pub(crate) struct NamedFigures {
    pub name: String,
    pub id: AdapterId,
    pub in_memory: bool,
}

impl Named {
    pub(super) fn new(root: &str, directory: PathBuf, pinned: bool, adapter: &LoraAdapter) -> Self {
        Self {
            id: adapter.id(),
            root: root.to_owned(),
            directory,
            pinned,
            rank: adapter.rank(),
            size_bytes: adapter.size_bytes(),
            created: unix_seconds(),
        }
    }
}

impl Registry {
    /// Starts without names.
    pub(super) fn new(capacity: HostCapacity) -> Self {
        Self {
            names: BTreeMap::new(),
            host: HostMemory::new(capacity),
            counters: Counters::default(),
        }
    }

    pub(super) fn figures(&self) -> HostFigures {
        let named = self.names.iter().map(|(name, named)| NamedFigures {
            name: name.clone(),
            id: named.id,
            in_memory: self.host.has(named.id),
        });
        HostFigures {
            counters: self.counters,
            evictions: self.host.evictions(),
            named: named.collect(),
            bytes: self.host.used().1,
            capacity: self.host.capacity(),
        }
    }

    /// The adapter of a name, if it is in host memory.
    pub(super) fn hit(&mut self, name: &str) -> Option<GenerationInUse> {
        let id = self.names.get(name)?.id;
        let generation = self.host.find(id)?;
        self.counters.hits += 1;
        Some(generation)
    }

    pub(super) fn count_load<T, E>(&mut self, loaded: &Result<T, E>, elapsed: Duration) {
        self.counters.load_seconds += elapsed.as_secs_f64();
        match loaded {
            Ok(_) => self.counters.loads += 1,
            Err(_) => self.counters.load_failures += 1,
        }
    }

    /// Makes a name refer to a generation that is in host memory.
    pub(super) fn point(&mut self, name: &str, new: Named) {
        let id = new.id;
        if new.pinned {
            self.host.pin(id);
        }
        if let Some(before) = self.names.insert(name.to_owned(), new) {
            self.counters.swaps += u64::from(before.id != id);
            self.leave(&before);
        }
    }

    pub(super) fn forget(&mut self, name: &str) -> bool {
        match self.names.remove(name) {
            Some(named) => {
                self.leave(&named);
                true
            }
            None => false,
        }
    }

    /// Releases an adapter whose name no longer refers to it.
    fn leave(&mut self, before: &Named) {
        if before.pinned {
            self.host.unpin(before.id);
        }
        if self.names.values().all(|named| named.id != before.id) {
            self.host.discard(before.id);
        }
    }
}
