//! Says who may do what: API keys, what they allow, and how much of it.
//!
//! A [`KeyFile`] holds the hashes of keys and their terms. A [`KeyRing`] is the file in use: it
//! verifies what callers send, and counts their requests and tokens.

mod allow_list;
mod key;
mod key_error;
mod key_file;
mod secret;

mod key_ring;
mod rate_limits;
mod request_rate;
mod token_bucket;

pub use allow_list::AllowList;
pub use key::{Key, Terms};
pub use key_error::{KeyFileError, RefusedKey};
pub use key_file::KeyFile;
pub use key_ring::{KeyInUse, KeyRing};
pub use rate_limits::{RateLimited, RateLimits, RateState};
pub use request_rate::RequestRate;
pub use secret::{Secret, SecretHash};
