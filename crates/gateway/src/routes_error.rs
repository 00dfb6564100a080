//! Why a routes file cannot be used.

/// Why a routes file cannot be used. The message names the key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RoutesError {
    /// It is not TOML of the right form. The message shows the line.
    #[error("{0}")]
    Syntax(String),
    /// A value is wrong.
    #[error("{key}: {reason}")]
    Value {
        /// The path of the value, such as `routes.support.fallback`.
        key: String,
        /// What is wrong, and what would do.
        reason: String,
    },
}

impl RoutesError {
    pub(crate) fn value(key: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::Value {
            key: key.into(),
            reason: reason.into(),
        }
    }
}
