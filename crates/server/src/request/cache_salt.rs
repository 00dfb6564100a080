//! Who shares cached prefixes with whom.

use farthing_scheduler::CacheSalt;
use sha2::{Digest, Sha256};

/// The salt of the prefix cache for a request of `owner` with its own `cache_salt`. Requests share
/// cached prefixes only if both are equal, so that nobody can tell from times or from
/// `cached_tokens` what others have sent. Requests without either share with each other.
pub(crate) fn cache_salt(owner: Option<&str>, cache_salt: Option<&str>) -> Option<CacheSalt> {
    if owner.is_none() && cache_salt.is_none() {
        return None;
    }
    let mut hash = Sha256::new();
    for part in [owner, cache_salt] {
        // With the length before it, no part runs into the next one.
        let length = part.map_or(u64::MAX, |part| part.len() as u64);
        hash.update(length.to_le_bytes());
        hash.update(part.unwrap_or_default());
    }
    let hash: [u8; 32] = hash.finalize().into();
    let (half, _) = hash.split_first_chunk()?;
    Some(CacheSalt(*half))
}

#[cfg(test)]
mod tests;
