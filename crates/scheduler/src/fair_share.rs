//! How much each adapter has had, and the base model: whoever had least is next.

use std::collections::BTreeMap;

use crate::AdapterId;

/// Counts the tokens computed for each kind of sequence, an adapter's or the base model's: the
/// virtual token counter of Sheng et al., "Fairness in Serving Large Language Models" (OSDI 2024),
/// with the virtual time of weighted fair queueing.
///
/// Kinds that keep asking get equal shares, however many sequences of theirs are waiting. A kind
/// that did not ask for a while has saved nothing up: it begins where one that always got its share
/// would be. That place moves on with every token, so that however many newcomers there are, whoever
/// is ahead of it gets a turn.
#[derive(Debug, Default)]
pub(crate) struct FairShare {
    kinds: BTreeMap<Option<AdapterId>, Kind>,
    /// Where newcomers begin.
    present: u64,
}

#[derive(Debug, Default)]
struct Kind {
    /// Parts of tokens.
    had: u64,
    /// Its sequences here. Without any it is forgotten.
    sequences: usize,
}

/// A token has so many parts, for shares of it are counted too.
const PARTS: u64 = 1 << 16;

impl FairShare {
    /// A sequence arrives; `is_first` says that no other of its kind is waiting.
    pub(crate) fn join(&mut self, kind: Option<AdapterId>, is_first: bool) {
        let kind = self.kinds.entry(kind).or_default();
        kind.sequences += 1;
        if is_first {
            kind.had = kind.had.max(self.present);
        }
    }

    /// A sequence has ended.
    pub(crate) fn leave(&mut self, kind: Option<AdapterId>) {
        if let Some(entry) = self.kinds.get_mut(&kind) {
            entry.sequences -= 1;
            if entry.sequences == 0 {
                self.kinds.remove(&kind);
            }
        }
    }

    /// Tokens are computed for a sequence that is here.
    pub(crate) fn charge(&mut self, kind: Option<AdapterId>, tokens: usize) {
        let parts = tokens as u64 * PARTS;
        self.present += parts / self.kinds.len().max(1) as u64;
        if let Some(kind) = self.kinds.get_mut(&kind) {
            kind.had += parts;
        }
    }

    /// What a kind has had; to be compared with another's only.
    pub(crate) fn had(&self, kind: Option<AdapterId>) -> u64 {
        self.kinds.get(&kind).map_or(0, |kind| kind.had)
    }
}
