//! Why a vendor cannot be set up.

use std::path::PathBuf;

/// Why a vendor cannot be set up. No message holds a key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("vendor {vendor:?}: {problem}")]
pub struct VendorConfigError {
    /// The vendor's name.
    pub vendor: String,
    /// What is wrong with its configuration.
    pub problem: ConfigProblem,
}

/// What is wrong with a configuration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigProblem {
    /// The address is none.
    #[error("`base_url` is {url:?}: {problem}")]
    BaseUrl {
        /// The value, without what may be a secret.
        url: String,
        /// What is wrong.
        problem: &'static str,
    },
    /// Two sources of one key.
    #[error("`key_env` and `key_file` are both set: keep one")]
    TwoKeys,
    /// A public vendor without a key.
    #[error("{host} needs a key: set `key_env` or `key_file`")]
    NoKey {
        /// The vendor's host.
        host: String,
    },
    /// The variable is empty or missing.
    #[error("`key_env` names {variable:?}, which is not set or empty")]
    KeyVariable {
        /// The variable.
        variable: String,
    },
    /// The file cannot be read.
    #[error("`key_file` {}: {problem}", .path.display())]
    KeyFile {
        /// The file.
        path: PathBuf,
        /// Why not.
        problem: String,
    },
    /// The key cannot be in a header.
    #[error("the key has characters that no header may have; is it only the key, on one line?")]
    KeyCharacters,
    /// A header that may not be set, or is none.
    #[error("`headers` has {name:?}, {problem}")]
    Header {
        /// Its name.
        name: String,
        /// What is wrong.
        problem: &'static str,
    },
    /// The price book does not know the vendor.
    #[error("`price_list` is {name:?}, and the price book has no such vendor: it has {}", .known.join(", "))]
    PriceList {
        /// The value.
        name: String,
        /// The vendors of the book.
        known: Vec<String>,
    },
    /// A limit is out of range.
    #[error("`{name}` must be {expected}")]
    Limit {
        /// The limit.
        name: &'static str,
        /// What it can be.
        expected: &'static str,
    },
    /// The TLS of this machine does not work.
    #[error("TLS cannot be set up: {0}")]
    Tls(String),
}
