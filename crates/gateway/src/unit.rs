//! What is assigned to an arm, and always to the same one.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The kind of unit that a route assigns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UnitKind {
    /// The end user.
    #[default]
    User,
    /// A conversation.
    Session,
    /// An API key.
    Key,
    /// A single request.
    Request,
}

/// What a request says about who sent it.
#[derive(Clone, Copy, Debug)]
pub struct UnitSources<'a> {
    /// The field `safety_identifier` or `user`.
    pub user: Option<&'a str>,
    /// The header `x-session-id`.
    pub session: Option<&'a str>,
    /// The name of the API key.
    pub key: Option<&'a str>,
    /// The request's id.
    pub request: &'a str,
}

/// A unit of assignment, such as `user:alice`. Units of different kinds are never equal.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Unit(String);

impl Unit {
    /// The unit of a request: the first that is known, from `kind` on, of user, session, key and request.
    pub fn of(kind: UnitKind, sources: UnitSources<'_>) -> Self {
        let known = [
            (UnitKind::User, "user", sources.user),
            (UnitKind::Session, "session", sources.session),
            (UnitKind::Key, "key", sources.key),
        ];
        let unit = known
            .into_iter()
            .filter(|(of, ..)| *of >= kind)
            .find_map(|(_, prefix, name)| Some(format!("{prefix}:{}", name?)));
        Self(unit.unwrap_or_else(|| format!("request:{}", sources.request)))
    }

    /// A unit that was read from a ledger.
    pub fn from_text(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// Its kind and its name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Unit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
