//! A client's request, which no attempt changes.

use std::sync::Arc;

use serde_json::{Map, Value};

/// A client's chat request: an immutable JSON object in OpenAI's form. Every attempt is translated
/// anew from it, so that nothing of one vendor's dialect reaches another.
#[derive(Clone, Debug)]
pub struct OriginalChat(Arc<Map<String, Value>>);

/// Why an object is not a chat request.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{parameter}` {problem}")]
pub struct InvalidChat {
    /// The parameter.
    pub parameter: &'static str,
    /// What is wrong with it.
    pub problem: &'static str,
}

/// More choices than OpenAI allows.
const MAX_CHOICES: u64 = 128;

impl OriginalChat {
    /// Takes a request, with a `model` and at least one message.
    ///
    /// # Errors
    /// The parameters that every dialect needs have other types.
    pub fn new(body: Map<String, Value>) -> Result<Self, InvalidChat> {
        let invalid = |parameter, problem| InvalidChat { parameter, problem };
        if !body.get("model").is_some_and(Value::is_string) {
            return Err(invalid("model", "must be a string"));
        }
        let messages = body.get("messages").and_then(Value::as_array);
        if !messages.is_some_and(|it| !it.is_empty() && it.iter().all(Value::is_object)) {
            return Err(invalid(
                "messages",
                "must be an array of at least one object",
            ));
        }
        let is_flag = |value: &Value| value.is_boolean() || value.is_null();
        if !body.get("stream").is_none_or(is_flag) {
            return Err(invalid("stream", "must be true or false"));
        }
        let choices = present(&body, "n").map_or(Some(1), Value::as_u64);
        if !choices.is_some_and(|choices| (1..=MAX_CHOICES).contains(&choices)) {
            return Err(invalid("n", "must be a whole number from 1 to 128"));
        }
        for parameter in ["max_tokens", "max_completion_tokens"] {
            let tokens = present(&body, parameter).map_or(Some(1), Value::as_u64);
            if tokens.is_none_or(|tokens| tokens == 0) {
                return Err(invalid(parameter, "must be a whole number above 0"));
            }
        }
        Ok(Self(Arc::new(body)))
    }

    /// The model that the client named.
    pub fn model(&self) -> &str {
        self.0
            .get("model")
            .and_then(Value::as_str)
            .unwrap_or_default()
    }

    /// The whole request.
    pub fn body(&self) -> &Map<String, Value> {
        &self.0
    }

    /// A parameter; `None` if it is absent or null.
    pub fn parameter(&self, name: &str) -> Option<&Value> {
        present(&self.0, name)
    }

    /// Whether the client wants a stream. Vendors are always asked for one.
    pub fn is_streamed(&self) -> bool {
        self.parameter("stream")
            .and_then(Value::as_bool)
            .unwrap_or(false)
    }

    /// How many answers the client wants.
    pub fn choices(&self) -> usize {
        self.parameter("n").and_then(Value::as_u64).unwrap_or(1) as usize
    }

    /// The most tokens of one answer, reasoning included, if the client limits them.
    pub fn max_tokens(&self) -> Option<u64> {
        let limits = ["max_completion_tokens", "max_tokens"];
        limits
            .iter()
            .find_map(|name| self.parameter(name)?.as_u64())
    }

    /// Whether the model may call tools.
    pub fn has_tools(&self) -> bool {
        let tools = self.parameter("tools").and_then(Value::as_array);
        tools.is_some_and(|tools| !tools.is_empty())
    }

    /// The bytes of all text in the messages, in UTF-8.
    pub fn text_bytes(&self) -> usize {
        self.parameter("messages").map_or(0, text_bytes)
    }
}

fn present<'a>(body: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    body.get(name).filter(|value| !value.is_null())
}

/// The text of `content`, of its parts, and of tool calls. Images are not text.
fn text_bytes(value: &Value) -> usize {
    match value {
        Value::Array(items) => items.iter().map(text_bytes).sum(),
        Value::Object(fields) => {
            let texts = ["content", "text", "refusal", "arguments", "name"];
            let bytes = |name: &&str| {
                fields.get(*name).map_or(0, |value| match value {
                    Value::String(text) => text.len(),
                    value => text_bytes(value),
                })
            };
            let calls = ["tool_calls", "function"];
            let nested = calls
                .iter()
                .filter_map(|name| fields.get(*name))
                .map(text_bytes);
            texts.iter().map(bytes).sum::<usize>() + nested.sum::<usize>()
        }
        _ => 0,
    }
}
