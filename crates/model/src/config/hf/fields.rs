//! Typed access to the fields of a `config.json`.

use serde_json::{Map, Value};

use super::refuse;
use crate::ModelError;

/// A JSON object and its name for errors. `null` counts as absent, as in transformers.
pub(super) struct Fields<'a>(pub(super) &'a Map<String, Value>, pub(super) &'static str);

impl<'a> Fields<'a> {
    pub(super) fn of(json: &'a Value, what: &'static str) -> Result<Self, ModelError> {
        match json.as_object() {
            Some(map) => Ok(Self(map, what)),
            None => refuse(format!("{what} is not a JSON object")),
        }
    }

    fn get(&self, name: &str) -> Option<&'a Value> {
        self.0.get(name).filter(|value| !value.is_null())
    }

    pub(super) fn present(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    fn read<T>(
        &self,
        name: &str,
        wanted: &str,
        parse: impl FnOnce(&'a Value) -> Option<T>,
    ) -> Result<Option<T>, ModelError> {
        let Some(value) = self.get(name) else {
            return Ok(None);
        };
        match parse(value) {
            Some(parsed) => Ok(Some(parsed)),
            None => refuse(format!("`{name}` in {} is {value}, not {wanted}", self.1)),
        }
    }

    pub(super) fn size(&self, name: &str) -> Result<Option<usize>, ModelError> {
        self.read(name, "a whole number", |value| {
            value.as_u64()?.try_into().ok()
        })
    }

    pub(super) fn number(&self, name: &str) -> Result<Option<f64>, ModelError> {
        self.read(name, "a number", Value::as_f64)
    }

    pub(super) fn flag(&self, name: &str) -> Result<Option<bool>, ModelError> {
        self.read(name, "true or false", Value::as_bool)
    }

    pub(super) fn text(&self, name: &str) -> Result<Option<&'a str>, ModelError> {
        self.read(name, "a string", Value::as_str)
    }

    pub(super) fn required_size(&self, name: &str) -> Result<usize, ModelError> {
        self.size(name)?.ok_or_else(|| self.missing(name))
    }

    pub(super) fn required_number(&self, name: &str) -> Result<f64, ModelError> {
        self.number(name)?.ok_or_else(|| self.missing(name))
    }

    /// Like [`Self::token_ids`], with transformers' default for an absent field. `null` means no
    /// token.
    pub(super) fn token_ids_or(
        &self,
        name: &str,
        default: Option<u32>,
    ) -> Result<Vec<u32>, ModelError> {
        if self.0.contains_key(name) {
            self.token_ids(name)
        } else {
            Ok(default.into_iter().collect())
        }
    }

    /// A list.
    pub(super) fn list<T>(
        &self,
        name: &str,
        wanted: &str,
        parse: impl Fn(&'a Value) -> Option<T>,
    ) -> Result<Option<Vec<T>>, ModelError> {
        self.read(name, wanted, |value| {
            value.as_array()?.iter().map(parse).collect()
        })
    }

    /// A positive number; 1 if absent.
    pub(super) fn factor(&self, name: &str) -> Result<f32, ModelError> {
        Ok(self.number(name)?.unwrap_or(1.0) as f32)
    }

    /// The fields of an object.
    pub(super) fn object(&self, name: &str) -> Option<&'a Map<String, Value>> {
        self.get(name)?.as_object()
    }

    /// One id or a list of ids. Empty if absent.
    pub(super) fn token_ids(&self, name: &str) -> Result<Vec<u32>, ModelError> {
        let id = |value: &Value| u32::try_from(value.as_u64()?).ok();
        let ids = self.read(name, "a token id or a list of them", |value| match value {
            Value::Array(values) => values.iter().map(id).collect(),
            value => Some(vec![id(value)?]),
        })?;
        Ok(ids.unwrap_or_default())
    }

    fn missing(&self, name: &str) -> ModelError {
        ModelError::Config(format!("`{name}` is missing from {}", self.1))
    }
}
