//! The keys in use.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use jiff::Timestamp;

use crate::{Key, RateLimits, RefusedKey, Secret, SecretHash};

/// Verifies keys. It is shared by all requests, and its keys can be replaced while it is used.
pub struct KeyRing {
    keys: RwLock<HashMap<String, Arc<KeyInUse>>>,
    /// What an unknown id is compared with, so that its answer takes as long as a wrong key's.
    decoy: SecretHash,
}

/// A key with what is used of its rates.
pub struct KeyInUse {
    /// The key.
    pub key: Key,
    /// Its rates.
    pub rates: Arc<RateLimits>,
}

impl KeyRing {
    /// The keys of a key file.
    pub fn new(keys: Vec<Key>) -> Self {
        let ring = Self {
            keys: RwLock::default(),
            decoy: SecretHash::of(""),
        };
        ring.replace(keys);
        ring
    }

    /// Uses other keys from now on. A key whose rates stay the same keeps what is used of them.
    pub fn replace(&self, keys: Vec<Key>) {
        let mut ring = self.keys.write().unwrap_or_else(PoisonError::into_inner);
        let in_use = keys.into_iter().map(|key| {
            let old = ring.get(&key.id).map(|old| old.rates.clone());
            let rates = old.filter(|rates| rates.are_of(&key.terms));
            let rates = rates.unwrap_or_else(|| Arc::new(RateLimits::new(&key.terms)));
            (key.id.clone(), Arc::new(KeyInUse { key, rates }))
        });
        *ring = in_use.collect();
    }

    /// The key with this text.
    ///
    /// # Errors
    /// There is none, it was revoked, or it has expired by `now`.
    pub fn verify(&self, text: &str, now: Timestamp) -> Result<Arc<KeyInUse>, RefusedKey> {
        let id = Secret::id_in(text).unwrap_or_default();
        let found = {
            let ring = self.keys.read().unwrap_or_else(PoisonError::into_inner);
            ring.get(id).cloned()
        };
        let expected = found.as_ref().map_or(&self.decoy, |it| &it.key.sha256);
        let matches = expected.matches(&SecretHash::of(text));
        let key = found.filter(|_| matches).ok_or(RefusedKey::Unknown)?;
        if key.key.revoked.is_some() {
            return Err(RefusedKey::Revoked);
        }
        match key.key.terms.expires {
            Some(expires) if now >= expires => Err(RefusedKey::Expired(expires)),
            _ => Ok(key),
        }
    }

    /// All keys that are not revoked.
    pub fn in_use(&self) -> Vec<Arc<KeyInUse>> {
        let ring = self.keys.read().unwrap_or_else(PoisonError::into_inner);
        let keys = ring.values().filter(|it| it.key.revoked.is_none());
        keys.cloned().collect()
    }
}
