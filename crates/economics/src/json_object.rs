//! Reads JSON objects number by number, so that no float is between text and decimal.

use std::fmt;

use rust_decimal::Decimal;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::decimal_text::parse_decimal;

/// The fields of an object in their order, each as its original text.
pub(crate) struct JsonObject(Vec<(String, Box<RawValue>)>);

/// The value of a field, as far as rates and usage need it.
pub(crate) enum JsonField {
    Null,
    Number(Decimal),
    Object(JsonObject),
    Array(Vec<Box<RawValue>>),
    Text(String),
    /// A boolean, or a number that no decimal holds.
    Other,
}

impl JsonObject {
    pub(crate) fn read(text: &str) -> Result<Self, String> {
        serde_json::from_str(text).map_err(|error| format!("no JSON object: {error}"))
    }

    /// The field of this name.
    pub(crate) fn get(&self, name: &str) -> Option<JsonField> {
        let found = self.0.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| JsonField::read(value.get()))
    }

    /// The object in the field of this name.
    pub(crate) fn object(&self, name: &str) -> Option<Self> {
        match self.get(name)? {
            JsonField::Object(object) => Some(object),
            _ => None,
        }
    }

    /// The string in the field of this name.
    pub(crate) fn text(&self, name: &str) -> Option<String> {
        match self.get(name)? {
            JsonField::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The objects of the list in the field of this name.
    pub(crate) fn objects(&self, name: &str) -> Vec<Self> {
        match self.get(name) {
            Some(JsonField::Array(items)) => items
                .iter()
                .filter_map(|item| Self::read(item.get()).ok())
                .collect(),
            _ => Vec::new(),
        }
    }

    pub(crate) fn fields(&self) -> impl Iterator<Item = (&str, JsonField)> {
        self.0
            .iter()
            .map(|(name, value)| (name.as_str(), JsonField::read(value.get())))
    }
}

impl JsonField {
    pub(crate) fn read(text: &str) -> Self {
        let field = match text.as_bytes().first() {
            Some(b'n') => Some(Self::Null),
            Some(b'{') => JsonObject::read(text).ok().map(Self::Object),
            Some(b'[') => serde_json::from_str(text).ok().map(Self::Array),
            // Exact figures are often written as decimals in quotes.
            _ => parse_decimal(text.trim_matches('"'))
                .map(Self::Number)
                .or_else(|| serde_json::from_str(text).ok().map(Self::Text)),
        };
        field.unwrap_or(Self::Other)
    }
}

impl<'de> Deserialize<'de> for JsonObject {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Fields)
    }
}

struct Fields;

impl<'de> Visitor<'de> for Fields {
    type Value = JsonObject;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<JsonObject, A::Error> {
        let mut fields: Vec<(String, Box<RawValue>)> = Vec::new();
        while let Some((name, value)) = map.next_entry::<String, _>()? {
            if fields.iter().any(|(known, _)| *known == name) {
                let message = format!("`{name}` is there twice");
                return Err(serde::de::Error::custom(message));
            }
            fields.push((name, value));
        }
        Ok(JsonObject(fields))
    }
}
