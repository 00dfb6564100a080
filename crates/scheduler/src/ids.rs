//! The ids of sequences, adapters, cache salts and cache blocks.

use std::fmt;

/// Identifies a sequence. An id is never used twice in one process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SequenceId(pub u64);

/// SHA-256 of an adapter's config and weights. It identifies the content; names are kept elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AdapterId(pub [u8; 32]);

/// Writes hexadecimal digits. The precision limits their number: `{:.16}` is enough to tell
/// adapters apart.
impl fmt::Display for AdapterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits: String = self.0.iter().map(|byte| format!("{byte:02x}")).collect();
        f.pad(&digits)
    }
}

/// Separates prefixes in the cache: sequences share blocks only if their salts are equal. It is
/// chosen by the caller and has no meaning here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CacheSalt(pub [u8; 16]);

/// Index of a block of the paged KV cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BlockId(pub u32);
