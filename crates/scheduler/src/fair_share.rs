//! Fair sharing between adapters and the base model.

use std::collections::BTreeMap;

use crate::AdapterId;

/// Counts the tokens computed for each adapter and for the base model. The one with the fewest
/// tokens is served next. This is the virtual token counter of Sheng et al., "Fairness in Serving
/// Large Language Models" (OSDI 2024), with the virtual time of weighted fair queueing.
///
/// A kind is an adapter or the base model. Kinds that always have waiting sequences get equal
/// shares, however many sequences wait. A kind without requests does not accumulate credit: when it
/// returns, it starts at the virtual time. The virtual time advances with every token, so a stream
/// of newcomers cannot starve a kind that is ahead of it.
#[derive(Debug, Default)]
pub(crate) struct FairShare {
    kinds: BTreeMap<Option<AdapterId>, Kind>,
    /// The virtual time, at which newcomers start.
    present: u64,
}

#[derive(Debug, Default)]
struct Kind {
    /// Tokens computed for it, in units of 1 / [`PARTS`] token.
    had: u64,
    /// Its living sequences. At 0 the entry is removed.
    sequences: usize,
}

/// Units per token: the virtual time advances by fractions of a token.
const PARTS: u64 = 1 << 16;

impl FairShare {
    /// Registers a new sequence. `is_first` says that no other sequence of its kind is waiting.
    pub(crate) fn join(&mut self, kind: Option<AdapterId>, is_first: bool) {
        let kind = self.kinds.entry(kind).or_default();
        kind.sequences += 1;
        if is_first {
            kind.had = kind.had.max(self.present);
        }
    }

    /// Removes a sequence that has ended.
    pub(crate) fn leave(&mut self, kind: Option<AdapterId>) {
        if let Some(entry) = self.kinds.get_mut(&kind) {
            entry.sequences -= 1;
            if entry.sequences == 0 {
                self.kinds.remove(&kind);
            }
        }
    }

    /// Counts tokens that are computed for a registered sequence.
    pub(crate) fn charge(&mut self, kind: Option<AdapterId>, tokens: usize) {
        let parts = tokens as u64 * PARTS;
        self.present += parts / self.kinds.len().max(1) as u64;
        if let Some(kind) = self.kinds.get_mut(&kind) {
            kind.had += parts;
        }
    }

    /// Tokens computed for a kind. Only comparisons between kinds are meaningful.
    pub(crate) fn had(&self, kind: Option<AdapterId>) -> u64 {
        self.kinds.get(&kind).map_or(0, |kind| kind.had)
    }
}
