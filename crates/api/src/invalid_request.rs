//! Errors of invalid requests, in OpenAI's form.

use std::borrow::Cow;

use serde_json::Value;

/// An invalid request: always a 400 of type `invalid_request_error`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct InvalidRequest {
    /// What is wrong and what is expected.
    pub message: String,
    /// The path of the invalid field, such as `messages[0].content`.
    pub param: Option<String>,
    /// OpenAI's code of the error.
    pub code: Option<&'static str>,
}

impl InvalidRequest {
    /// A field whose value has the right type but is invalid.
    pub fn value(param: impl Into<String>, message: impl Into<String>) -> Self {
        Self::coded("invalid_value", param, message)
    }

    /// Prompt and answer exceed the model's context.
    pub fn context_length_exceeded(
        param: impl Into<String>,
        context: usize,
        prompt_tokens: usize,
        max_tokens: usize,
    ) -> Self {
        let param = param.into();
        let requested = prompt_tokens.saturating_add(max_tokens);
        let message = format!(
            "This model's maximum context length is {context} tokens. However, you requested \
             {requested} tokens ({prompt_tokens} in the {param}, {max_tokens} in the completion). \
             Please reduce the length of the {param} or completion."
        );
        Self::coded("context_length_exceeded", param, message)
    }

    /// A text that is too long for the context, whatever its tokens are.
    pub fn text_too_long(
        param: impl Into<String>,
        context: usize,
        bytes: usize,
        least_tokens: usize,
    ) -> Self {
        let param = param.into();
        let message = format!(
            "This model's maximum context length is {context} tokens. However, you requested at \
             least {least_tokens} tokens ({bytes} bytes in the {param}). Please reduce the length of \
             the {param} or completion."
        );
        Self::coded("context_length_exceeded", param, message)
    }

    pub(crate) fn missing(param: impl Into<String>) -> Self {
        let param = param.into();
        let message = format!("Missing required parameter: '{param}'.");
        Self::coded("missing_required_parameter", param, message)
    }

    pub(crate) fn unknown(param: impl Into<String>) -> Self {
        let param = shown(&param.into()).into_owned();
        let message = format!("Unknown parameter: '{param}'.");
        Self::coded("unknown_parameter", param, message)
    }

    pub(crate) fn unsupported(param: impl Into<String>, hint: &str) -> Self {
        let param = shown(&param.into()).into_owned();
        let message = format!("Unsupported parameter: '{param}' is not supported here{hint}.");
        Self::coded("unsupported_parameter", param, message)
    }

    /// A value of the wrong type. `expected` reads like "a string"; `param` is empty for the body
    /// itself.
    pub(crate) fn kind(param: impl Into<String>, expected: &str, found: &Value) -> Self {
        let param = param.into();
        let what = if param.is_empty() { "the body" } else { &param };
        let found = kind_of(found);
        let message =
            format!("Invalid type for '{what}': expected {expected}, but got {found} instead.");
        let mut refusal = Self::coded("invalid_type", param, message);
        refusal.param = refusal.param.filter(|param| !param.is_empty());
        refusal
    }

    pub(crate) fn coded(
        code: &'static str,
        param: impl Into<String>,
        message: impl Into<String>,
    ) -> Self {
        Self {
            message: message.into(),
            param: Some(param.into()),
            code: Some(code),
        }
    }
}

fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(number) if number.is_f64() => "a decimal",
        Value::Number(_) => "an integer",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

/// The beginning of a text that a caller chose, for an error and the log.
pub(crate) fn shown(text: &str) -> Cow<'_, str> {
    const MAX_CHARS: usize = 100;
    match text.char_indices().nth(MAX_CHARS) {
        None => text.into(),
        Some((end, _)) => format!("{}…", &text[..end]).into(),
    }
}
