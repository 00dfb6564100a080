//! A model's own defaults for sampling, in `generation_config.json`.

use std::path::Path;

use anyhow::{Context, ensure};
use farthing_model::read_regular_file;
use serde::Deserialize;

use crate::request::local::SamplingDefaults;

/// Which defaults requests have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DefaultsChoice {
    /// Those of the model's `generation_config.json`.
    OfModel,
    /// Neutral ones.
    Neutral,
}

/// The fields that are defaults of requests in vLLM too.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Fields {
    temperature: Option<f32>,
    top_p: Option<f32>,
    top_k: Option<i64>,
    min_p: Option<f32>,
    repetition_penalty: Option<f32>,
}

/// The file is small; it lists some token ids.
const MAX_BYTES: u64 = 1 << 20;

/// Reads the file of a model's directory. Without one, all defaults are neutral.
///
/// # Errors
/// It cannot be read, or has a value that a request may not have.
pub(crate) fn read(path: &Path) -> anyhow::Result<SamplingDefaults> {
    if !path.exists() {
        return Ok(SamplingDefaults::default());
    }
    let of_file = || path.display().to_string();
    let bytes = read_regular_file(path, MAX_BYTES).with_context(of_file)?;
    let fields: Fields = serde_json::from_slice(&bytes).with_context(of_file)?;
    let within = |name: &str, value: Option<f32>, least: f32, most: f32| {
        let is_within = value.is_none_or(|value| (least..=most).contains(&value));
        ensure!(
            is_within,
            "{}: `{name}` is not between {least} and {most}: correct it, or choose neutral defaults",
            path.display()
        );
        Ok(value)
    };
    Ok(SamplingDefaults {
        temperature: within("temperature", fields.temperature, 0.0, 2.0)?,
        top_p: within("top_p", fields.top_p, f32::MIN_POSITIVE, 1.0)?,
        top_k: fields.top_k.map(|top_k| top_k.max(0) as usize),
        min_p: within("min_p", fields.min_p, 0.0, 1.0)?,
        repetition_penalty: within("repetition_penalty", fields.repetition_penalty, 0.01, 10.0)?,
    })
}

#[cfg(test)]
mod tests {
    use super::{SamplingDefaults, read};

    #[test]
    fn defaults_are_read_and_checked() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("generation_config.json");
        assert_eq!(read(&path).unwrap(), SamplingDefaults::default());
        let llama = r#"{"bos_token_id": 128000, "do_sample": true, "eos_token_id": [128001, 128009],
            "temperature": 0.6, "top_p": 0.9, "top_k": -1, "max_length": 4096}"#;
        std::fs::write(&path, llama).unwrap();
        let expected = SamplingDefaults {
            temperature: Some(0.6),
            top_p: Some(0.9),
            top_k: Some(0),
            ..SamplingDefaults::default()
        };
        assert_eq!(read(&path).unwrap(), expected);
        for (wrong, why) in [
            (r#"{"temperature": -1}"#, "`temperature` is not between"),
            (r#"{"top_p": 0}"#, "`top_p` is not between"),
            (r#"{"repetition_penalty": 11}"#, "`repetition_penalty`"),
            ("{", "generation_config.json"),
        ] {
            std::fs::write(&path, wrong).unwrap();
            let error = format!("{:#}", read(&path).unwrap_err());
            assert!(error.contains(why), "{error}");
        }
    }
}
