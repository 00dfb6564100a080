//! Which models each book contains, and their names in the catalogues.

use anyhow::Result;
use serde::Deserialize;

const SELECTION: &str = include_str!("selection.toml");

/// A book and its models.
#[derive(Debug)]
pub(super) struct Selection {
    /// The file name.
    pub file: String,
    pub models: Vec<SelectedModel>,
}

#[derive(Clone, Debug)]
pub(super) struct SelectedModel {
    pub vendor: String,
    pub model: String,
    /// `frontier` or `hosted`.
    pub class: String,
    /// `subset` or `additive`.
    pub counting: String,
    pub tokenizer: Option<String>,
    /// LiteLLM's key.
    pub litellm: Option<String>,
    /// genai-prices' provider and model.
    pub genai: Option<String>,
}

#[derive(Deserialize)]
struct Books {
    book: Vec<Book>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Book {
    file: String,
    group: Vec<Group>,
}

/// Models of one vendor, with the prefixes of their names in the catalogues.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Group {
    vendor: String,
    class: String,
    counting: String,
    tokenizer: Option<String>,
    litellm: Option<String>,
    genai: Option<String>,
    models: Vec<Names>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Names {
    Same(String),
    Different {
        model: String,
        litellm: Option<String>,
        genai: Option<String>,
    },
}

impl Selection {
    pub(super) fn all() -> Result<Vec<Self>> {
        let books: Books = toml::from_str(SELECTION)?;
        let selections = books.book.into_iter().map(|book| Self {
            file: book.file,
            models: book.group.iter().flat_map(Group::models).collect(),
        });
        Ok(selections.collect())
    }
}

impl Group {
    fn models(&self) -> impl Iterator<Item = SelectedModel> {
        self.models.iter().map(|names| {
            let (model, litellm, genai) = match names {
                Names::Same(name) => (name, Some(name), Some(name)),
                Names::Different {
                    model,
                    litellm,
                    genai,
                } => (model, litellm.as_ref(), genai.as_ref()),
            };
            let joined = |prefix: &Option<String>, name: Option<&String>| {
                Some(format!("{}{}", prefix.as_ref()?, name?))
            };
            SelectedModel {
                vendor: self.vendor.clone(),
                model: model.clone(),
                class: self.class.clone(),
                counting: self.counting.clone(),
                tokenizer: self.tokenizer.clone(),
                litellm: joined(&self.litellm, litellm),
                genai: joined(&self.genai, genai),
            }
        })
    }
}

impl SelectedModel {
    pub(super) fn name(&self) -> String {
        format!("{}/{}", self.vendor, self.model)
    }
}
