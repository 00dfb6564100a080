//! Who may do what: callers with keys, and the operator.

pub(crate) mod caller;
mod key_watch;
mod spending_caps;
mod wrong_keys;

use std::net::IpAddr;
use std::sync::Arc;

use axum::http::{HeaderMap, header};
use farthing_economics::HourlyPrice;
use farthing_keys::{KeyFile, KeyRing, RefusedKey};
use jiff::Timestamp;

use crate::http::admin_key::AdminKey;
use crate::http::error::ApiError;
use caller::Caller;
pub(crate) use key_watch::KeyWatch;
use key_watch::read;
use spending_caps::SpendingCaps;
use wrong_keys::WrongKeys;

/// The keys that a server accepts.
pub struct CallerKeys {
    ring: KeyRing,
    caps: SpendingCaps,
}

impl CallerKeys {
    /// The keys of a file. Caps in dollars become device time at `price`.
    ///
    /// # Errors
    /// The file cannot be read, or a key has a cap and the price is unknown.
    pub fn open(file: &KeyFile, price: Option<HourlyPrice>) -> anyhow::Result<Self> {
        Ok(Self {
            ring: KeyRing::new(read(file, price)?),
            caps: SpendingCaps::new(price),
        })
    }

    /// Counts what the key of this name has spent today, before the server started.
    pub fn count_spent(&self, key_name: &str, seconds: f64) {
        self.caps.count_spent(key_name, seconds);
    }

    /// Does what a new day asks for.
    pub(crate) fn tick(&self) {
        for key in self.ring.in_use() {
            self.caps.budget(&key.key, Timestamp::now());
        }
    }

    fn verify(&self, key: &str) -> Result<Caller, RefusedKey> {
        let now = Timestamp::now();
        let key = self.ring.verify(key, now)?;
        let budget = self.caps.budget(&key.key, now);
        Ok(Caller::of(key, budget))
    }
}

/// What the routes ask before they answer. Cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct Access {
    /// `None` admits every caller.
    pub keys: Option<Arc<CallerKeys>>,
    /// Without one, nothing can be changed.
    pub admin_key: Option<Arc<AdminKey>>,
    wrong_keys: Arc<WrongKeys>,
}

impl Access {
    /// The caller of a request.
    ///
    /// # Errors
    /// It has no key, or its key is refused.
    pub(crate) fn caller(
        &self,
        headers: &HeaderMap,
        peer: Option<IpAddr>,
    ) -> Result<Caller, ApiError> {
        let Some(keys) = &self.keys else {
            return Ok(Caller::default());
        };
        if self.is_operator(headers) {
            return Err(ApiError::OperatorIsNoCaller);
        }
        let key = bearer(headers).ok_or(ApiError::NoKey)?;
        keys.verify(key).or_else(|refused| {
            self.wrong_keys.count(peer)?;
            Err(ApiError::RefusedKey(refused))
        })
    }

    /// Admits the operator. Where callers need no keys, everybody may read.
    ///
    /// # Errors
    /// Callers need keys, and the request does not have the admin key.
    pub(crate) fn read_as_operator(
        &self,
        headers: &HeaderMap,
        peer: Option<IpAddr>,
    ) -> Result<(), ApiError> {
        match &self.keys {
            Some(_) => self.operator(headers, peer),
            None => Ok(()),
        }
    }

    /// Admits the operator.
    ///
    /// # Errors
    /// The server has no admin key, or the request does not have it.
    pub(crate) fn operator(
        &self,
        headers: &HeaderMap,
        peer: Option<IpAddr>,
    ) -> Result<(), ApiError> {
        if self.admin_key.is_none() {
            return Err(ApiError::AdminOff);
        }
        if self.is_operator(headers) {
            return Ok(());
        }
        let Some(key) = bearer(headers) else {
            return Err(ApiError::BadAdminKey);
        };
        if (self.keys.as_ref()).is_some_and(|keys| keys.verify(key).is_ok()) {
            return Err(ApiError::CallerIsNoOperator);
        }
        self.wrong_keys.count(peer)?;
        Err(ApiError::BadAdminKey)
    }

    /// Admits who may read what each tenant does: if there is an admin key, only the operator.
    ///
    /// # Errors
    /// The request does not have the admin key.
    pub(crate) fn read_tenants(
        &self,
        headers: &HeaderMap,
        peer: Option<IpAddr>,
    ) -> Result<(), ApiError> {
        match (&self.keys, &self.admin_key) {
            (None, None) => Ok(()),
            _ => self.operator(headers, peer),
        }
    }

    /// Forgets wrong keys that are no longer counted.
    pub(crate) fn forget_wrong_keys(&self) {
        self.wrong_keys.forget_old();
    }

    /// Whether the request may see who the tenants are: with the admin key, if there is one.
    pub(crate) fn may_see_tenants(&self, headers: &HeaderMap) -> bool {
        self.admin_key.is_none() || self.is_operator(headers)
    }

    /// Whether the request has the admin key.
    fn is_operator(&self, headers: &HeaderMap) -> bool {
        let key = self.admin_key.as_ref().zip(bearer(headers));
        key.is_some_and(|(key, sent)| key.matches(sent))
    }
}

/// The key in `Authorization: Bearer KEY`. The scheme has no case (RFC 9110, section 11.1).
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, key) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| key.trim())
}
