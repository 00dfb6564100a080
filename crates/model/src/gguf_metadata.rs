//! Typed access to the metadata of a GGUF file.

use std::collections::HashMap;

use candle_core::quantized::gguf_file::Value;

use crate::ModelError;

/// The key-value pairs of a GGUF file. Integers of any width are accepted, since writers differ. A
/// value of another type is an error that names the key.
pub(crate) struct GgufMetadata(HashMap<String, Value>);

impl GgufMetadata {
    pub(crate) fn new(pairs: HashMap<String, Value>) -> Self {
        Self(pairs)
    }

    pub(crate) fn size(&self, key: &str) -> Result<Option<usize>, ModelError> {
        self.read(key, "a whole number", whole_number)
    }

    pub(crate) fn required_size(&self, key: &str) -> Result<usize, ModelError> {
        self.size(key)?.ok_or_else(|| {
            ModelError::Config(format!(
                "the GGUF's metadata has no `{key}`; is it a whole model?"
            ))
        })
    }

    pub(crate) fn token_id(&self, key: &str) -> Result<Option<u32>, ModelError> {
        self.read(key, "a token id", |value| {
            whole_number(value)?.try_into().ok()
        })
    }

    /// The id of the special token `bos`, `eos` or `unknown`. Where the key is missing, SentencePiece's
    /// vocabularies have llama.cpp's ids, and others have none.
    pub(crate) fn special_token(&self, name: &str) -> Result<Option<u32>, ModelError> {
        let stored = self.token_id(&format!("tokenizer.ggml.{name}_token_id"))?;
        let is_sentence_piece = self.text("tokenizer.ggml.model")? == Some("llama");
        Ok(stored.or(match name {
            "unknown" if is_sentence_piece => Some(0),
            "bos" if is_sentence_piece => Some(1),
            "eos" if is_sentence_piece => Some(2),
            _ => None,
        }))
    }

    pub(crate) fn number(&self, key: &str) -> Result<Option<f64>, ModelError> {
        self.read(key, "a number", |value| match value {
            Value::F32(number) => Some(f64::from(*number)),
            Value::F64(number) => Some(*number),
            value => Some(whole_number(value)? as f64),
        })
    }

    pub(crate) fn flag(&self, key: &str) -> Result<Option<bool>, ModelError> {
        self.read(key, "true or false", |value| value.to_bool().ok())
    }

    pub(crate) fn text(&self, key: &str) -> Result<Option<&str>, ModelError> {
        self.read(key, "a string", |value| {
            value.to_string().ok().map(String::as_str)
        })
    }

    pub(crate) fn texts(&self, key: &str) -> Result<Vec<String>, ModelError> {
        self.list(key, "a list of strings", |value| {
            value.to_string().ok().cloned()
        })
    }

    pub(crate) fn numbers(&self, key: &str) -> Result<Vec<f32>, ModelError> {
        self.list(key, "a list of 32-bit numbers", |value| value.to_f32().ok())
    }

    pub(crate) fn integers(&self, key: &str) -> Result<Vec<i32>, ModelError> {
        self.list(key, "a list of integers", |value| match value {
            Value::I32(integer) => Some(*integer),
            value => whole_number(value)?.try_into().ok(),
        })
    }

    fn list<T>(
        &self,
        key: &str,
        wanted: &str,
        parse: impl Fn(&Value) -> Option<T>,
    ) -> Result<Vec<T>, ModelError> {
        let list = self.read(key, wanted, |value| {
            value.to_vec().ok()?.iter().map(parse).collect()
        });
        Ok(list?.unwrap_or_default())
    }

    fn read<'a, T>(
        &'a self,
        key: &str,
        wanted: &str,
        parse: impl FnOnce(&'a Value) -> Option<T>,
    ) -> Result<Option<T>, ModelError> {
        let Some(value) = self.0.get(key) else {
            return Ok(None);
        };
        match parse(value) {
            Some(parsed) => Ok(Some(parsed)),
            None => Err(ModelError::Config(format!(
                "`{key}` in the GGUF's metadata is of type {:?}, not {wanted}",
                value.value_type()
            ))),
        }
    }
}

fn whole_number(value: &Value) -> Option<usize> {
    match *value {
        Value::U8(number) => Some(number.into()),
        Value::U16(number) => Some(number.into()),
        Value::U32(number) => number.try_into().ok(),
        Value::U64(number) => number.try_into().ok(),
        Value::I8(number) => number.try_into().ok(),
        Value::I16(number) => number.try_into().ok(),
        Value::I32(number) => number.try_into().ok(),
        Value::I64(number) => number.try_into().ok(),
        _ => None,
    }
}
