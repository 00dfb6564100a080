//! What `GET /v1/models` tells.

use serde::Serialize;

/// A `list` of `model` objects.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "object", rename = "list")]
pub struct ModelList {
    /// The base model first.
    pub data: Vec<ModelCard>,
}

/// A `model` object; `root`, `parent` and `max_model_len` are vLLM's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "object", rename = "model")]
pub struct ModelCard {
    /// The name that requests use.
    pub id: String,
    /// Unix seconds.
    pub created: u64,
    /// `farthing`.
    pub owned_by: &'static str,
    /// Where its weights come from, as the command line named it.
    pub root: String,
    /// An adapter's base model.
    pub parent: Option<String>,
    /// Tokens of prompt and answer together.
    pub max_model_len: usize,
}
