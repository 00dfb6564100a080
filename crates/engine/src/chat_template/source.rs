//! Finds the chat template of a model directory.

use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use farthing_model::read_regular_file;
use serde::Deserialize;

use crate::TextError;

/// A chat template and the file that it is from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TemplateSource {
    /// The template.
    pub text: String,
    /// The file.
    pub path: PathBuf,
}

pub(super) fn find(directory: &Path) -> Result<Option<TemplateSource>, TextError> {
    let path = directory.join("chat_template.jinja");
    if let Some(text) = read(&path)? {
        return Ok(Some(TemplateSource { text, path }));
    }
    // The second is what processors of models with images wrote.
    for name in ["tokenizer_config.json", "chat_template.json"] {
        let path = directory.join(name);
        if let Some(text) = in_config(&path)? {
            return Ok(Some(TemplateSource { text, path }));
        }
    }
    Ok(None)
}

fn in_config(path: &Path) -> Result<Option<String>, TextError> {
    let Some(text) = read(path)? else {
        return Ok(None);
    };
    let bad_file = |message| TextError::BadFile {
        path: path.to_owned(),
        message,
    };
    let config: TokenizerConfig =
        serde_json::from_str(&text).map_err(|error| bad_file(error.to_string()))?;
    match config.chat_template {
        None => Ok(None),
        Some(Templates::One(source)) => Ok(Some(source)),
        Some(Templates::Named(named)) => {
            let names: Vec<_> = named.iter().map(|it| it.name.clone()).collect();
            match named.into_iter().find(|it| it.name == "default") {
                Some(default) => Ok(Some(default.template)),
                None => Err(bad_file(format!(
                    "its chat templates are {}, and none is named \"default\": save the one to use \
                     as chat_template.jinja",
                    names.join(", ")
                ))),
            }
        }
    }
}

#[derive(Deserialize)]
struct TokenizerConfig {
    chat_template: Option<Templates>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Templates {
    One(String),
    Named(Vec<NamedTemplate>),
}

#[derive(Deserialize)]
struct NamedTemplate {
    name: String,
    template: String,
}

fn read(path: &Path) -> Result<Option<String>, TextError> {
    /// `tokenizer_config.json` lists the added tokens too.
    const MAX_BYTES: u64 = 64 << 20;
    let text = read_regular_file(path, MAX_BYTES).and_then(|bytes| {
        String::from_utf8(bytes).map_err(|error| io::Error::new(ErrorKind::InvalidData, error))
    });
    match text {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(source) => Err(TextError::Read {
            path: path.to_owned(),
            source,
        }),
    }
}
