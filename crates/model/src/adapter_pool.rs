//! The adapter slots of the device.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use farthing_scheduler::{AdapterId, Batch};

use crate::{LoraAdapter, ModelError, lora_stacks::LoraStacks};

/// The device's adapter slots. All adapters of a batch are in slots while the batch is computed;
/// the least recently used adapter is evicted first.
///
/// A sequence holds its adapter from arrival to end, so that the weights are in host memory
/// whenever a slot has to be filled. A free slot is filled at once, before the sequence's first
/// step. An adapter that no sequence holds keeps its slot until the slot is needed or the adapter
/// is retired.
pub(crate) struct AdapterPool {
    /// The index of a slot is its position on the device.
    slots: Vec<Option<Slot>>,
    /// The slots' memory on a GPU. `None` on the CPU, which uses the adapters in place.
    stacks: Option<LoraStacks>,
    held: HashMap<AdapterId, Held>,
    /// Counts steps and arrivals. It is the clock for "least recently used".
    uses: u64,
    stats: AdapterPoolStats,
}

struct Slot {
    adapter: Arc<LoraAdapter>,
    last_use: u64,
    /// Whether the adapter has been copied to the GPU.
    is_copied: bool,
}

/// An adapter that sequences hold.
struct Held {
    adapter: Arc<LoraAdapter>,
    sequences: usize,
    /// No name refers to it any more. It is removed with its last sequence.
    is_retired: bool,
}

/// The adapters on the device, and counters since the start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AdapterPoolStats {
    /// Number of slots.
    pub slots: usize,
    /// The adapters in slots.
    pub resident: Arc<[AdapterId]>,
    /// Total size of the adapters in slots.
    pub resident_bytes: usize,
    /// Sequences whose adapter was in a slot when they arrived.
    pub hits: u64,
    /// Sequences whose adapter was not in a slot when they arrived.
    pub misses: u64,
    /// How often a slot was filled.
    pub loads: u64,
    /// How often an adapter was replaced by another.
    pub evictions: u64,
}

impl AdapterPool {
    pub(crate) fn new(slots: usize, stacks: Option<LoraStacks>) -> Self {
        Self {
            slots: (0..slots).map(|_| None).collect(),
            stacks,
            held: HashMap::new(),
            uses: 0,
            stats: AdapterPoolStats {
                slots,
                ..AdapterPoolStats::default()
            },
        }
    }

    /// Adds a holder of the adapter.
    pub(crate) fn hold(&mut self, adapter: Arc<LoraAdapter>) {
        match self.slot_mut(adapter.id()) {
            Some(_) => self.stats.hits += 1,
            None => self.stats.misses += 1,
        }
        let held = self.held.entry(adapter.id()).or_insert_with(|| Held {
            adapter: adapter.clone(),
            sequences: 0,
            is_retired: false,
        });
        held.sequences += 1;
        held.is_retired = false;
        self.prefetch(adapter);
    }

    /// Removes a holder. Returns `true` for the last one.
    pub(crate) fn release(&mut self, id: AdapterId) -> bool {
        let Some(held) = self.held.get_mut(&id) else {
            return false;
        };
        held.sequences -= 1;
        if held.sequences > 0 {
            return false;
        }
        let is_retired = held.is_retired;
        self.held.remove(&id);
        if is_retired {
            self.vacate(id);
        }
        true
    }

    /// Puts the adapter into a slot that is free or whose adapter no sequence holds.
    pub(crate) fn prefetch(&mut self, adapter: Arc<LoraAdapter>) {
        self.uses += 1;
        let uses = self.uses;
        if let Some(slot) = self.slot_mut(adapter.id()) {
            slot.last_use = uses;
            return;
        }
        if let Some(index) = self.idlest(|id| !self.held.contains_key(&id)) {
            self.fill(index, adapter);
        }
    }

    /// Frees the slot of an adapter that no name refers to: at once, or with its last sequence.
    pub(crate) fn retire(&mut self, id: AdapterId) {
        match self.held.get_mut(&id) {
            Some(held) => held.is_retired = true,
            None => self.vacate(id),
        }
    }

    /// Puts all adapters of a batch into slots.
    pub(crate) fn prepare(&mut self, batch: &Batch) -> Result<(), ModelError> {
        let wanted: BTreeSet<AdapterId> = batch.rows.iter().filter_map(|row| row.adapter).collect();
        self.uses += 1;
        let uses = self.uses;
        for &id in &wanted {
            if let Some(slot) = self.slot_mut(id) {
                slot.last_use = uses;
                continue;
            }
            let held = self.held.get(&id).ok_or(ModelError::UnknownAdapter)?;
            let adapter = held.adapter.clone();
            let index = self
                .idlest(|id| !wanted.contains(&id) && !self.held.contains_key(&id))
                .or_else(|| self.idlest(|id| !wanted.contains(&id)))
                .ok_or(ModelError::TooManyAdapters {
                    slots: self.slots.len(),
                })?;
            self.fill(index, adapter);
        }
        self.copy(&wanted)
    }

    /// Copies the wanted adapters to the GPU if they are not there yet.
    fn copy(&mut self, wanted: &BTreeSet<AdapterId>) -> Result<(), ModelError> {
        let Some(stacks) = &self.stacks else {
            return Ok(());
        };
        for (index, slot) in self.slots.iter_mut().enumerate() {
            if let Some(slot) = slot
                && !slot.is_copied
                && wanted.contains(&slot.adapter.id())
            {
                stacks.fill(index, &slot.adapter)?;
                slot.is_copied = true;
            }
        }
        Ok(())
    }

    pub(crate) fn stacks(&self) -> Option<&LoraStacks> {
        self.stacks.as_ref()
    }

    /// The slot of an adapter.
    pub(crate) fn slot(&self, id: AdapterId) -> Result<usize, ModelError> {
        let holds = |slot: &Option<Slot>| slot.as_ref().is_some_and(|it| it.adapter.id() == id);
        let slot = self.slots.iter().position(holds);
        slot.ok_or(ModelError::UnknownAdapter)
    }

    /// The adapter in its slot.
    pub(crate) fn get(&self, id: AdapterId) -> Result<&LoraAdapter, ModelError> {
        let slot = self.slots.iter().flatten().find(|it| it.adapter.id() == id);
        slot.map(|slot| &*slot.adapter)
            .ok_or(ModelError::UnknownAdapter)
    }

    pub(crate) fn stats(&self) -> AdapterPoolStats {
        self.stats.clone()
    }

    /// A free slot, or the least recently used one whose adapter may be evicted.
    fn idlest(&self, may_go: impl Fn(AdapterId) -> bool) -> Option<usize> {
        let candidates = self
            .slots
            .iter()
            .enumerate()
            .filter_map(|(index, slot)| match slot {
                None => Some((0, index)),
                Some(slot) => may_go(slot.adapter.id()).then_some((slot.last_use, index)),
            });
        candidates.min().map(|(_, index)| index)
    }

    fn fill(&mut self, index: usize, adapter: Arc<LoraAdapter>) {
        let last_use = self.uses;
        let before = self.slots[index].replace(Slot {
            adapter,
            last_use,
            is_copied: false,
        });
        self.stats.loads += 1;
        self.stats.evictions += u64::from(before.is_some());
        self.count_resident();
    }

    fn vacate(&mut self, id: AdapterId) {
        for slot in &mut self.slots {
            slot.take_if(|slot| slot.adapter.id() == id);
        }
        self.count_resident();
    }

    fn count_resident(&mut self) {
        let adapters = || self.slots.iter().flatten().map(|slot| &slot.adapter);
        self.stats.resident = adapters().map(|adapter| adapter.id()).collect();
        self.stats.resident_bytes = adapters().map(|adapter| adapter.size_bytes()).sum();
    }

    fn slot_mut(&mut self, id: AdapterId) -> Option<&mut Slot> {
        let mut slots = self.slots.iter_mut().flatten();
        slots.find(|slot| slot.adapter.id() == id)
    }
}
