//! A request in a vendor's dialect.

use serde_json::Value;

use crate::VendorError;

/// What is sent to a vendor.
#[derive(Debug)]
pub(crate) struct Translation {
    /// The path below the base address.
    pub(crate) path: Vec<String>,
    pub(crate) query: Option<&'static str>,
    pub(crate) body: Value,
    /// The limit of an answer's tokens, if the body has one.
    pub(crate) max_tokens: Option<u64>,
    /// What the client did not ask for and the dialect needs.
    pub(crate) injected: Vec<(&'static str, Value)>,
}

/// The dialect cannot express a parameter.
pub(crate) fn untranslatable(parameter: &str, problem: &str) -> VendorError {
    VendorError::Untranslatable {
        parameter: parameter.to_owned(),
        problem: problem.to_owned(),
    }
}
