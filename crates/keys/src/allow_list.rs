//! Names that a key may use.

use serde::{Deserialize, Serialize};

/// Names, or beginnings of names that end with `*`. An absent list allows every name; an empty one
/// allows none.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct AllowList(Option<Vec<String>>);

impl AllowList {
    /// Allows every name.
    pub const fn all() -> Self {
        Self(None)
    }

    /// Allows these names.
    pub fn of(names: impl IntoIterator<Item = String>) -> Self {
        Self(Some(names.into_iter().collect()))
    }

    /// Whether the name is allowed.
    pub fn allows(&self, name: &str) -> bool {
        let Some(patterns) = &self.0 else {
            return true;
        };
        patterns
            .iter()
            .any(|pattern| match pattern.strip_suffix('*') {
                Some(beginning) => name.starts_with(beginning),
                None => name == pattern,
            })
    }

    /// Whether every name is allowed.
    pub fn is_all(&self) -> bool {
        self.0.is_none()
    }

    /// The names; none if every name is allowed.
    pub fn names(&self) -> &[String] {
        self.0.as_deref().unwrap_or_default()
    }
}
