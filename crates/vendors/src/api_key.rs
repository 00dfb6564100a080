//! The key of one vendor.

use std::fmt;
use std::fs;
use std::path::Path;

use reqwest::header::HeaderValue;

use crate::config_error::ConfigProblem;
use crate::{Dialect, VendorConfig};

/// A file with more is no key.
const MAX_FILE_BYTES: u64 = 16 << 10;

/// A key. It leaves only as a header of a request to its own vendor.
pub(crate) struct ApiKey(String);

impl ApiKey {
    /// Reads the key that a configuration names, if it names one.
    pub(crate) fn read(
        config: &VendorConfig,
        secrets: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Option<Self>, ConfigProblem> {
        let text = match (&config.key_env, &config.key_file) {
            (Some(_), Some(_)) => return Err(ConfigProblem::TwoKeys),
            (None, None) => return Ok(None),
            (Some(variable), None) => {
                let value = secrets(variable).filter(|text| !text.trim().is_empty());
                let variable = variable.clone();
                value.ok_or(ConfigProblem::KeyVariable { variable })?
            }
            (None, Some(path)) => read_file(path).map_err(|problem| ConfigProblem::KeyFile {
                path: path.clone(),
                problem,
            })?,
        };
        let key = Self(text.trim().to_owned());
        key.header("")?;
        Ok(Some(key))
    }

    /// The name and value of the header that carries the key in a dialect.
    pub(crate) fn header_of(
        &self,
        dialect: Dialect,
    ) -> Result<(&'static str, HeaderValue), ConfigProblem> {
        Ok(match dialect {
            Dialect::OpenAi => ("authorization", self.header("Bearer ")?),
            Dialect::Anthropic => ("x-api-key", self.header("")?),
            Dialect::Google => ("x-goog-api-key", self.header("")?),
        })
    }

    pub(crate) fn text(&self) -> &str {
        &self.0
    }

    fn header(&self, scheme: &str) -> Result<HeaderValue, ConfigProblem> {
        let printable = self.0.bytes().all(|byte| byte.is_ascii_graphic());
        let value = HeaderValue::from_str(&format!("{scheme}{}", self.0));
        let mut value = value
            .ok()
            .filter(|_| printable)
            .ok_or(ConfigProblem::KeyCharacters)?;
        value.set_sensitive(true);
        Ok(value)
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ApiKey(…)")
    }
}

fn read_file(path: &Path) -> Result<String, String> {
    let metadata = fs::metadata(path).map_err(|error| error.to_string())?;
    if !metadata.is_file() || metadata.len() > MAX_FILE_BYTES {
        return Err(format!(
            "is not a regular file of at most {MAX_FILE_BYTES} bytes"
        ));
    }
    let text = fs::read_to_string(path).map_err(|error| error.to_string())?;
    match text.trim() {
        "" => Err("is empty".to_owned()),
        _ => Ok(text),
    }
}
