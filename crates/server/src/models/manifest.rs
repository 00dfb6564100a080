//! The models that can be served by name: the manifests in `models/`.

use farthing_economics::TokenizerFamily;
use farthing_model::{ComputeType, ModelConfig};
use serde::Deserialize;

use super::{error::ModelSourceError, hub::HubSource, pypi::PypiSource};

/// The manifests, embedded in the binary.
const MANIFESTS: [&str; 3] = [
    include_str!("../../../../models/smollm2-135m-instruct.toml"),
    include_str!("../../../../models/mistral-7b-instruct-v0.3.toml"),
    include_str!("../../../../models/llama-3.1-8b-instruct.toml"),
];

/// A model that can be served by name: where its files are, and its defaults.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Manifest {
    /// The name on the command line.
    pub(crate) name: String,
    /// One line for users.
    pub(crate) description: String,
    /// The licence of the weights.
    pub(crate) license: String,
    /// The type to compute in.
    pub(crate) dtype: ManifestDtype,
    /// The context to serve, in tokens.
    pub(crate) max_model_len: usize,
    /// The tokenizer, if it is one of those that cost comparisons know.
    #[serde(default)]
    pub(crate) tokenizer: Option<TokenizerFamily>,
    /// A chat template to use instead of the model's own.
    #[serde(default)]
    pub(crate) chat_template: Option<TemplateName>,
    /// Adapters that are embedded in the binary and served with the model.
    #[serde(default)]
    pub(crate) adapters: Vec<String>,
    /// The sources of its files, in the order to try.
    pub(crate) sources: Vec<Source>,
    config: EmbeddedConfig,
}

/// A file of `models/templates`, embedded in the binary.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
pub(crate) enum TemplateName {
    #[serde(rename = "mistral-v1")]
    MistralV1,
    #[serde(rename = "mistral-v2")]
    MistralV2,
    #[serde(rename = "mistral-v3")]
    MistralV3,
}

impl TemplateName {
    pub(crate) fn source(self) -> &'static str {
        match self {
            Self::MistralV1 => include_str!("../../../../models/templates/mistral-v1.jinja"),
            Self::MistralV2 => include_str!("../../../../models/templates/mistral-v2.jinja"),
            Self::MistralV3 => include_str!("../../../../models/templates/mistral-v3.jinja"),
        }
    }
}

/// vLLM's names for the types to compute in.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub(crate) enum ManifestDtype {
    Bfloat16,
    Float32,
}

/// A source of a model's files.
#[derive(Clone, Debug, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub(crate) enum Source {
    Hub(HubSource),
    Pypi(PypiSource),
}

/// Hugging Face's `config.json`. It is JSON because TOML has no null.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct EmbeddedConfig {
    json: String,
}

impl Manifest {
    /// All manifests, the demo first.
    ///
    /// # Errors
    /// A manifest is invalid. The tests exclude this.
    pub(crate) fn all() -> Result<Vec<Self>, ModelSourceError> {
        MANIFESTS
            .into_iter()
            .map(|text| Ok(toml::from_str(text)?))
            .collect()
    }

    /// The model's configuration, so that `--load-format dummy` needs no file.
    pub(crate) fn config(&self) -> Result<ModelConfig, ModelSourceError> {
        Ok(ModelConfig::from_hf_json(&serde_json::from_str(
            &self.config.json,
        )?)?)
    }
}

impl From<ManifestDtype> for ComputeType {
    fn from(dtype: ManifestDtype) -> Self {
        match dtype {
            ManifestDtype::Bfloat16 => Self::Bf16,
            ManifestDtype::Float32 => Self::F32,
        }
    }
}
