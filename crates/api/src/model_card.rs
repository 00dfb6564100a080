//! The answer of `GET /v1/models`.

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
    /// The name for requests.
    pub id: String,
    /// Unix seconds.
    pub created: u64,
    /// `farthing`.
    pub owned_by: &'static str,
    /// The source of its weights, as given on the command line.
    pub root: String,
    /// The base model of an adapter.
    pub parent: Option<String>,
    /// Maximum number of tokens of prompt and answer together.
    pub max_model_len: usize,
}
