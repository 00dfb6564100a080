//! The adapters on the device: so many slots, and who is in them.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use farthing_scheduler::{AdapterId, Batch};

use crate::{LoraAdapter, ModelError, lora_stacks::LoraStacks};

/// The device's slots for adapters, the least recently used given up first. All adapters of a
/// batch are in slots while it is computed.
///
/// A sequence holds its adapter from its arrival to its end, so that host memory has it whenever
/// a slot is to be filled; an idle slot is filled at once, before the sequence's first step. An
/// adapter that nobody holds keeps its slot until that is needed, or until it is retired.
pub(crate) struct AdapterPool {
    /// A slot's index is its place on the device.
    slots: Vec<Option<Slot>>,
    /// Where the slots are on a GPU; none on the CPU, which computes with the adapters as they are.
    stacks: Option<LoraStacks>,
    held: HashMap<AdapterId, Held>,
    /// Steps and arrivals so far: the clock of the least recently used.
    uses: u64,
    stats: AdapterPoolStats,
}

struct Slot {
    adapter: Arc<LoraAdapter>,
    last_use: u64,
    /// Whether a GPU has a copy.
    is_copied: bool,
}

/// An adapter that living sequences ask for.
struct Held {
    adapter: Arc<LoraAdapter>,
    sequences: usize,
    /// No name points to it any more: its last sequence takes it away.
    is_retired: bool,
}

/// What is on the device, and counters since the start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AdapterPoolStats {
    /// Adapters that fit.
    pub slots: usize,
    /// The adapters in slots.
    pub resident: Arc<[AdapterId]>,
    /// Their bytes.
    pub resident_bytes: usize,
    /// Sequences that found their adapter in a slot when they arrived.
    pub hits: u64,
    /// Sequences that did not.
    pub misses: u64,
    /// Times a slot was filled.
    pub loads: u64,
    /// Times an adapter was taken out of its slot for another.
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

    /// One sequence more asks for an adapter.
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

    /// One sequence less; `true` with the last.
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

    /// Fills a slot with an adapter where one is free, or keeps only what nobody holds.
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

    /// Lets an adapter go that no name points to any more: at once, or with its last sequence.
    pub(crate) fn retire(&mut self, id: AdapterId) {
        match self.held.get_mut(&id) {
            Some(held) => held.is_retired = true,
            None => self.vacate(id),
        }
    }

    /// Sees to it that all adapters of a batch are in slots.
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

    /// Copies adapters to their slots on a GPU, where they are not there yet.
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

    /// The slots on a GPU, where there are any.
    pub(crate) fn stacks(&self) -> Option<&LoraStacks> {
        self.stacks.as_ref()
    }

    /// The slot of an adapter.
    pub(crate) fn slot(&self, id: AdapterId) -> Result<usize, ModelError> {
        let holds = |slot: &Option<Slot>| slot.as_ref().is_some_and(|it| it.adapter.id() == id);
        let slot = self.slots.iter().position(holds);
        slot.ok_or(ModelError::UnknownAdapter)
    }

    /// An adapter in its slot.
    pub(crate) fn get(&self, id: AdapterId) -> Result<&LoraAdapter, ModelError> {
        let slot = self.slots.iter().flatten().find(|it| it.adapter.id() == id);
        slot.map(|slot| &*slot.adapter)
            .ok_or(ModelError::UnknownAdapter)
    }

    pub(crate) fn stats(&self) -> AdapterPoolStats {
        self.stats.clone()
    }

    /// A free slot, else the least recently used of those whose adapter may go.
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
