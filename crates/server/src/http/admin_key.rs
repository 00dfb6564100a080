//! The key that protects changes.

use std::fmt;
use std::str::FromStr;

use axum::http::{HeaderMap, header};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::error::ApiError;

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
    /// Admits a request with `Authorization: Bearer KEY`. Without a key on the server, no request
    /// is admitted.
    ///
    /// # Errors
    /// The request has no key or a wrong key, or the server has none.
    pub(crate) fn admit(key: Option<&Self>, headers: &HeaderMap) -> Result<(), ApiError> {
        let key = key.ok_or(ApiError::AdminOff)?;
        let authorization = headers.get(header::AUTHORIZATION);
        let sent = authorization.and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "));
        // Hashes have the same length, and the comparison takes constant time.
        let matches = sent.is_some_and(|sent| {
            let sha256: [u8; 32] = Sha256::digest(sent).into();
            sha256.ct_eq(&key.sha256).into()
        });
        if matches {
            Ok(())
        } else {
            Err(ApiError::BadAdminKey)
        }
    }
}
