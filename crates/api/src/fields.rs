//! A JSON object whose fields are taken one by one. Fields left at the end are unknown.

use std::ops::RangeInclusive;

use serde_json::{Map, Value};

use crate::{InvalidRequest, json};

const MAX_MODEL_CHARS: usize = 512;

/// The fields of an object in a request. Null counts as absent, as in OpenAI's API.
pub(crate) struct Fields {
    /// Path of the object, such as `messages[0]`; empty for the body.
    path: String,
    fields: Map<String, Value>,
}

impl Fields {
    /// The fields of a request body.
    pub(crate) fn of_body(body: &[u8]) -> Result<Self, InvalidRequest> {
        Self::of(json::parse(body)?, String::new())
    }

    /// The fields of the object at `path`.
    pub(crate) fn of(value: Value, path: String) -> Result<Self, InvalidRequest> {
        match value {
            Value::Object(fields) => Ok(Self { path, fields }),
            other => Err(InvalidRequest::kind(path, "an object", &other)),
        }
    }

    /// The path of a field for errors.
    pub(crate) fn path(&self, name: &str) -> String {
        if self.path.is_empty() {
            name.to_owned()
        } else {
            format!("{}.{name}", self.path)
        }
    }

    /// Takes the value of a field.
    pub(crate) fn value(&mut self, name: &str) -> Option<Value> {
        self.fields
            .shift_remove(name)
            .filter(|value| !value.is_null())
    }

    pub(crate) fn string(&mut self, name: &str) -> Result<Option<String>, InvalidRequest> {
        match self.value(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(other) => Err(InvalidRequest::kind(self.path(name), "a string", &other)),
        }
    }

    /// The model's or adapter's name. It is written to logs, metrics and the ledger.
    pub(crate) fn model(&mut self) -> Result<String, InvalidRequest> {
        let name = self.string("model")?;
        let name = name.ok_or_else(|| InvalidRequest::missing(self.path("model")))?;
        let length = name.chars().count();
        if length > MAX_MODEL_CHARS {
            let message = format!(
                "Invalid 'model': string too long. Expected a string with maximum length \
                 {MAX_MODEL_CHARS}, but got a string with length {length} instead."
            );
            let code = "string_above_max_length";
            return Err(InvalidRequest::coded(code, self.path("model"), message));
        }
        Ok(name)
    }

    pub(crate) fn boolean(&mut self, name: &str) -> Result<Option<bool>, InvalidRequest> {
        match self.value(name) {
            None => Ok(None),
            Some(Value::Bool(truth)) => Ok(Some(truth)),
            Some(other) => Err(InvalidRequest::kind(self.path(name), "a boolean", &other)),
        }
    }

    pub(crate) fn integer(
        &mut self,
        name: &str,
        range: RangeInclusive<i64>,
    ) -> Result<Option<i64>, InvalidRequest> {
        let Some(value) = self.value(name) else {
            return Ok(None);
        };
        let path = self.path(name);
        let Value::Number(number) = &value else {
            return Err(InvalidRequest::kind(path, "an integer", &value));
        };
        if number.is_f64() {
            return Err(InvalidRequest::kind(path, "an integer", &value));
        }
        match number.as_i64() {
            Some(integer) if integer < *range.start() => Err(out_of_range(
                path,
                "integer",
                Bound::AtLeast(range.start()),
                number,
            )),
            Some(integer) if integer <= *range.end() => Ok(Some(integer)),
            _ => Err(out_of_range(
                path,
                "integer",
                Bound::AtMost(range.end()),
                number,
            )),
        }
    }

    pub(crate) fn decimal(
        &mut self,
        name: &str,
        range: RangeInclusive<f64>,
    ) -> Result<Option<f64>, InvalidRequest> {
        match self.value(name) {
            None => Ok(None),
            Some(value) => decimal_in(&value, self.path(name), range).map(Some),
        }
    }

    /// Takes a field that has no effect, with any value of the right type.
    pub(crate) fn inert(
        &mut self,
        name: &str,
        expected: &str,
        is_expected: fn(&Value) -> bool,
    ) -> Result<(), InvalidRequest> {
        match self.value(name) {
            Some(value) if !is_expected(&value) => {
                Err(InvalidRequest::kind(self.path(name), expected, &value))
            }
            _ => Ok(()),
        }
    }

    /// Takes a field that has no effect, with one of the values of `inert`.
    pub(crate) fn inert_as(&mut self, name: &str, inert: &[Value]) -> Result<(), InvalidRequest> {
        let Some(value) = self.value(name) else {
            return Ok(());
        };
        if inert.contains(&value) {
            return Ok(());
        }
        let accepted: Vec<String> = inert.iter().map(Value::to_string).collect();
        let hint = if accepted.is_empty() {
            String::new()
        } else {
            format!(" with this value; accepted: {}", accepted.join(", "))
        };
        Err(InvalidRequest::unsupported(self.path(name), &hint))
    }

    /// Rejects the fields that were not taken.
    pub(crate) fn finish(self) -> Result<(), InvalidRequest> {
        match self.fields.iter().find(|(_, value)| !value.is_null()) {
            Some((name, _)) => Err(InvalidRequest::unknown(self.path(name))),
            None => Ok(()),
        }
    }
}

/// A number within `range`; otherwise an error that names `path`.
pub(crate) fn decimal_in(
    value: &Value,
    path: String,
    range: RangeInclusive<f64>,
) -> Result<f64, InvalidRequest> {
    let Value::Number(number) = value else {
        return Err(InvalidRequest::kind(path, "a decimal", value));
    };
    match number.as_f64() {
        Some(decimal) if decimal < *range.start() => Err(out_of_range(
            path,
            "decimal",
            Bound::AtLeast(range.start()),
            number,
        )),
        Some(decimal) if decimal <= *range.end() => Ok(decimal),
        _ => Err(out_of_range(
            path,
            "decimal",
            Bound::AtMost(range.end()),
            number,
        )),
    }
}

/// The violated bound of a range.
enum Bound<T> {
    AtLeast(T),
    AtMost(T),
}

fn out_of_range<T: std::fmt::Display>(
    path: String,
    kind: &str,
    bound: Bound<T>,
    found: &serde_json::Number,
) -> InvalidRequest {
    let (side, expected, code) = match (bound, kind) {
        (Bound::AtLeast(least), "integer") => (
            "below minimum",
            format!(">= {least}"),
            "integer_below_min_value",
        ),
        (Bound::AtLeast(least), _) => (
            "below minimum",
            format!(">= {least}"),
            "decimal_below_min_value",
        ),
        (Bound::AtMost(most), "integer") => (
            "above maximum",
            format!("<= {most}"),
            "integer_above_max_value",
        ),
        (Bound::AtMost(most), _) => (
            "above maximum",
            format!("<= {most}"),
            "decimal_above_max_value",
        ),
    };
    let message = format!(
        "Invalid '{path}': {kind} {side} value. Expected a value {expected}, but got {found} instead."
    );
    InvalidRequest::coded(code, path, message)
}
