//! Unpredictable numbers, for ids and for seeds that callers do not set.

use std::hash::{BuildHasher, RandomState};

/// 64 random bits: the hash of nothing under a fresh key. The standard library draws such a key
/// from the operating system for each hash map.
pub(crate) fn bits() -> u64 {
    RandomState::new().hash_one(())
}

/// A unique name, such as `chatcmpl-` and 32 digits.
pub(crate) fn answer_id(prefix: &str) -> String {
    format!("{prefix}-{:016x}{:016x}", bits(), bits())
}
