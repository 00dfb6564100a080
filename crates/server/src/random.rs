//! Numbers that nobody can guess: for ids, and for the seeds that callers leave to us.

use std::hash::{BuildHasher, RandomState};

/// 64 random bits: a keyed hash of nothing, under the fresh key that the standard library draws
/// from the operating system for each of its hash maps.
pub(crate) fn bits() -> u64 {
    RandomState::new().hash_one(())
}

/// A name that no other answer has, such as `chatcmpl-` and 32 digits.
pub(crate) fn answer_id(prefix: &str) -> String {
    format!("{prefix}-{:016x}{:016x}", bits(), bits())
}
