//! The text of a key, and its hash.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

/// What the text of a key begins with. Some clients insist on `sk-`.
const PREFIX: &str = "sk-fth-";
const ID_BYTES: usize = 6;
const RANDOM_BYTES: usize = 32;

/// The text of a key: `sk-fth-`, its id, and 256 random bits. It is shown once, when the key is
/// made, and kept nowhere.
pub struct Secret {
    text: String,
    id: String,
}

/// The SHA-256 of a key's text. A fast hash is enough, because the text has 256 random bits.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretHash([u8; 32]);

impl Secret {
    /// A new key, from the operating system's random numbers.
    ///
    /// # Errors
    /// The operating system has none.
    pub fn generate() -> Result<Self, getrandom::Error> {
        let mut bytes = [0; ID_BYTES + RANDOM_BYTES];
        getrandom::fill(&mut bytes)?;
        let (id, random) = bytes.split_at(ID_BYTES);
        let id = hex(id);
        let text = format!("{PREFIX}{id}-{}", hex(random));
        Ok(Self { text, id })
    }

    /// The whole key.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The part that is no secret.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// What the key file holds of it.
    pub fn hash(&self) -> SecretHash {
        SecretHash::of(&self.text)
    }

    /// The id in the text of a key.
    pub(crate) fn id_in(text: &str) -> Option<&str> {
        let (id, _) = text.strip_prefix(PREFIX)?.split_once('-')?;
        Some(id)
    }
}

impl SecretHash {
    /// The hash of a key's text.
    pub fn of(text: &str) -> Self {
        Self(Sha256::digest(text).into())
    }

    /// Compares in constant time.
    pub fn matches(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl fmt::Debug for SecretHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretHash")
    }
}

impl Serialize for SecretHash {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&hex(&self.0))
    }
}

impl<'de> Deserialize<'de> for SecretHash {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let invalid = || de::Error::custom("expected 64 hexadecimal digits");
        if text.len() != 64 || !text.is_ascii() {
            return Err(invalid());
        }
        let mut bytes = [0; 32];
        for (index, byte) in bytes.iter_mut().enumerate() {
            let digits = &text[2 * index..2 * index + 2];
            *byte = u8::from_str_radix(digits, 16).map_err(|_| invalid())?;
        }
        Ok(Self(bytes))
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
