//! The request body of `POST /v1/feedback`.

use serde_json::Value;

use crate::InvalidRequest;
use crate::fields::Fields;

/// What somebody says of an answer.
#[derive(Clone, Debug, PartialEq)]
pub struct FeedbackRequest {
    /// The id of the answer, as its `id` and its header `x-request-id` have it.
    pub request_id: String,
    /// What is measured, such as `accepted`.
    pub metric: String,
    /// The value: a number; true is 1 and false is 0.
    pub value: Option<f64>,
    /// A remark.
    pub comment: Option<String>,
}

const MAX_ID_CHARS: usize = 128;
const MAX_METRIC_CHARS: usize = 64;
const MAX_COMMENT_CHARS: usize = 4096;

impl FeedbackRequest {
    /// Parses and validates a request body.
    pub fn from_json(body: &[u8]) -> Result<Self, InvalidRequest> {
        let mut fields = Fields::of_body(body)?;
        let required = |fields: &mut Fields, name, most| {
            let text = limited(fields, name, most)?;
            text.ok_or_else(|| InvalidRequest::missing(name))
        };
        let request = Self {
            request_id: required(&mut fields, "request_id", MAX_ID_CHARS)?,
            metric: required(&mut fields, "metric", MAX_METRIC_CHARS)?,
            value: match fields.value("value") {
                None => None,
                Some(Value::Bool(truth)) => Some(f64::from(u8::from(truth))),
                Some(Value::Number(number)) => number.as_f64(),
                Some(other) => {
                    return Err(InvalidRequest::kind(
                        "value",
                        "a number or a boolean",
                        &other,
                    ));
                }
            },
            comment: limited(&mut fields, "comment", MAX_COMMENT_CHARS)?,
        };
        fields.finish()?;
        if request.value.is_none() && request.comment.is_none() {
            return Err(InvalidRequest::missing("value"));
        }
        Ok(request)
    }
}

fn limited(fields: &mut Fields, name: &str, most: usize) -> Result<Option<String>, InvalidRequest> {
    let text = fields.string(name)?;
    match text.as_ref().map(|text| text.chars().count()) {
        Some(0) => {
            let message = format!("Invalid '{name}': empty string.");
            Err(InvalidRequest::value(name, message))
        }
        Some(length) if length > most => {
            let message = format!(
                "Invalid '{name}': string too long. Expected a string with maximum length {most}, \
                 but got a string with length {length} instead."
            );
            let code = "string_above_max_length";
            Err(InvalidRequest::coded(code, name, message))
        }
        _ => Ok(text),
    }
}
