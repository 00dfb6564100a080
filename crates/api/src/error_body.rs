//! The body of error responses.

use serde::Serialize;

/// OpenAI's error object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ErrorBody {
    /// Its only field.
    pub error: ErrorDetail,
}

/// Details of an error.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ErrorDetail {
    /// The message for people.
    pub message: String,
    /// OpenAI's class of errors, such as `invalid_request_error`.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// The parameter that is invalid.
    pub param: Option<String>,
    /// OpenAI's code of the error.
    pub code: Option<&'static str>,
}
