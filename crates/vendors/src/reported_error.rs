//! An error as a vendor reports it.

use std::time::Duration;

use serde_json::Value;

use crate::VendorError;
use crate::vendor_text::TextCleaner;

/// The fields of a vendor's error, in any of the dialects.
#[derive(Debug, Default)]
pub(crate) struct ReportedError {
    code: Option<String>,
    /// An HTTP status within the body.
    status: Option<u64>,
    message: String,
    retry_after: Option<Duration>,
}

/// Words in the type or code of errors that another attempt at the same vendor would meet again.
const LASTING: [&str; 12] = [
    "invalid",
    "authentication",
    "permission",
    "unauthenticated",
    "insufficient_quota",
    "billing",
    "content_filter",
    "content_policy",
    "context",
    "not_found",
    "too_large",
    "failed_precondition",
];
/// How vendors say that a request is longer than the context. OpenAI has a code for it, llama.cpp a
/// type; of Anthropic, Google and vLLM there is only the text.
const TOO_LONG: [&str; 7] = [
    "context_length_exceeded",
    "exceed_context_size",
    "prompt is too long",
    "input is too long",
    "maximum context length",
    "context window",
    "exceeds the maximum number of tokens",
];

impl ReportedError {
    /// The error within an event or a body, if it is one.
    pub(crate) fn within(value: &Value) -> Option<Self> {
        let error = &value["error"];
        let is_error = |kind: &str| kind == "error";
        match error {
            Value::Object(_) => Some(Self::read(error)),
            Value::String(text) => Some(Self {
                message: text.clone(),
                ..Self::read(value)
            }),
            // Older vLLM, and Mistral.
            _ if value["object"].as_str().is_some_and(is_error) => Some(Self::read(value)),
            _ if value["type"].as_str().is_some_and(is_error) => Some(Self::read(value)),
            _ => None,
        }
    }

    /// The error of a response with an error status, whatever it holds.
    pub(crate) fn of_body(body: &[u8]) -> Self {
        let value: Value = serde_json::from_slice(body).unwrap_or_default();
        // Google's batches of errors are arrays of one.
        let value = value.get(0).unwrap_or(&value);
        Self::within(value).unwrap_or_else(|| {
            let texts = [&value["message"], &value["detail"]];
            let text = texts.iter().find_map(|text| text.as_str());
            let body = || String::from_utf8_lossy(body).into_owned();
            Self {
                message: text.map_or_else(body, str::to_owned),
                ..Self::default()
            }
        })
    }

    fn read(error: &Value) -> Self {
        let texts = ["code", "status", "type"]
            .iter()
            .filter_map(|name| error[*name].as_str());
        let retries = error["details"].as_array().into_iter().flatten();
        let mut delays = retries.filter_map(|detail| {
            let seconds = detail["retryDelay"]
                .as_str()?
                .strip_suffix('s')?
                .parse()
                .ok()?;
            Duration::try_from_secs_f64(seconds).ok()
        });
        Self {
            code: { texts }
                .find(|text| !text.is_empty() && *text != "error")
                .map(str::to_owned),
            status: error["code"].as_u64(),
            message: error["message"].as_str().unwrap_or_default().to_owned(),
            retry_after: delays.next(),
        }
    }

    /// The failure of a stream that began with status 200.
    pub(crate) fn in_band(self, cleaner: &TextCleaner) -> VendorError {
        let code = self
            .code
            .as_deref()
            .unwrap_or_default()
            .to_ascii_lowercase();
        let lasts = LASTING.iter().any(|word| code.contains(word))
            || self.status.is_some_and(|status| {
                (400..500).contains(&status) && !matches!(status, 408 | 409 | 429)
            });
        let context_too_long = self.is_context_too_long();
        VendorError::InBand {
            retry_after: self.retry_after,
            may_retry: !lasts && !context_too_long,
            code: self.code.as_deref().map(|code| cleaner.clean(code)),
            message: cleaner.clean(&self.message),
            context_too_long,
        }
    }

    /// The failure of a response with an error status.
    pub(crate) fn with_status(
        self,
        status: u16,
        retry_after: Option<Duration>,
        should_retry: Option<bool>,
        cleaner: &TextCleaner,
    ) -> VendorError {
        VendorError::Status {
            status,
            retry_after: retry_after.or(self.retry_after),
            should_retry,
            context_too_long: self.is_context_too_long(),
            code: self.code.as_deref().map(|code| cleaner.clean(code)),
            message: cleaner.clean(&self.message),
        }
    }

    fn is_context_too_long(&self) -> bool {
        let code = self.code.as_deref().unwrap_or_default();
        let texts = [code, &self.message].map(str::to_ascii_lowercase);
        TOO_LONG
            .iter()
            .any(|words| texts.iter().any(|text| text.contains(words)))
    }
}
