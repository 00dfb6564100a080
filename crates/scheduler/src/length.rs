//! How long requests are.

use crate::sequence::Sequence;

/// A request of more tokens, prompt and answers together, is long.
const MOST_TOKENS: usize = 128;
/// Requests of at most this many tokens are equally short.
const FEW_TOKENS: usize = 16;

/// The tokens of a request, by powers of two.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Length(u32);

impl Length {
    pub(crate) fn of(sequence: &Sequence) -> Self {
        let tokens = sequence.request_tokens().clamp(FEW_TOKENS, MOST_TOKENS + 1);
        Self(tokens.next_power_of_two().ilog2())
    }

    /// The length of the shortest requests, if they are short and there are longer ones.
    pub(crate) fn shortest<'a>(sequences: impl Iterator<Item = &'a Sequence>) -> Option<Self> {
        let (mut shortest, mut longest) = (None, None);
        for length in sequences.map(Self::of) {
            shortest = Some(shortest.map_or(length, |other: Self| other.min(length)));
            longest = longest.max(Some(length));
        }
        shortest.filter(|_| shortest != longest)
    }
}
