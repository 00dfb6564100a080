//! Whether a field of a chunk holds something that the model generated.

use serde_json::Value;

/// Names of strings that describe a part and are not generated.
const LABELS: [&str; 6] = ["type", "id", "role", "format", "status", "signature"];

/// Whether the value has text: a string, a digit that a server sends as a number, a list of parts,
/// a part.
pub(super) fn is_output(value: &Value) -> bool {
    matches!(value, Value::Number(_)) || has_string(value)
}

fn has_string(value: &Value) -> bool {
    match value {
        Value::String(text) => !text.is_empty(),
        Value::Array(parts) => parts.iter().any(has_string),
        Value::Object(part) => part
            .iter()
            .any(|(name, value)| !LABELS.contains(&name.as_str()) && has_string(value)),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

/// Whether the value says that there is none.
pub(super) fn is_nothing(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        Value::Bool(true) | Value::Number(_) => false,
    }
}

/// The text with another character for each escaped surrogate. Halves that are alone cannot be
/// parsed.
pub(super) fn without_surrogates(json: &str) -> String {
    let mut text = String::with_capacity(json.len());
    let mut rest = json;
    while let Some(at) = rest.find("\\u") {
        let (head, tail) = rest.split_at(at);
        let (escape, after) = tail.split_at_checked(6).unwrap_or((tail, ""));
        let is_surrogate = u32::from_str_radix(escape.get(2..).unwrap_or(""), 16)
            .is_ok_and(|unit| (0xd800..0xe000).contains(&unit));
        text.push_str(head);
        text.push_str(if is_surrogate { "\\ufffd" } else { escape });
        rest = after;
    }
    text.push_str(rest);
    text
}
