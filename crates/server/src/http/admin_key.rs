//! The key that protects changes.

use std::fmt;
use std::str::FromStr;

use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

/// The admin key. Only its hash is kept, so that it cannot appear in a log.
#[derive(Clone)]
pub struct AdminKey {
    sha256: [u8; 32],
}

impl FromStr for AdminKey {
    type Err = String;

    fn from_str(key: &str) -> Result<Self, String> {
        if key.trim().is_empty() {
            Err("the key is empty".to_owned())
        } else {
            Ok(Self {
                sha256: Sha256::digest(key).into(),
            })
        }
    }
}

impl fmt::Debug for AdminKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AdminKey")
    }
}

impl AdminKey {
    /// Whether this is the key. Hashes have the same length, and the comparison takes constant time.
    pub(crate) fn matches(&self, sent: &str) -> bool {
        let sha256: [u8; 32] = Sha256::digest(sent).into();
        sha256.ct_eq(&self.sha256).into()
    }
}
