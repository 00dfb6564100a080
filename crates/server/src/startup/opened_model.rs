//! The model to serve, with its files open.

use std::sync::Arc;

use anyhow::ensure;
use farthing_economics::TokenizerFamily;
use farthing_model::{Checkpoint, ComputeType, ModelConfig};

use super::config::Config;
use super::end_tokens::{EndOrigin, EndTokens};
use super::generation_config::{self, DefaultsChoice};
use super::text::Text;
use crate::models::{self, LocalAdapter, ModelFiles, ModelRequest};
use crate::request::local::SamplingDefaults;

/// Everything that is known about a model before its weights are loaded.
pub(crate) struct OpenedModel {
    /// The names that requests may use for it; never empty.
    pub names: Vec<String>,
    pub checkpoint: Arc<Checkpoint>,
    pub text: Text,
    /// What requests leave out.
    pub sampling: SamplingDefaults,
    /// Where these defaults are from.
    pub sampling_origin: String,
    pub compute_type: ComputeType,
    pub max_model_len: usize,
    /// The tokenizer, if it is one of those that cost comparisons know.
    pub tokenizer: Option<TokenizerFamily>,
    /// Adapters that come with the model.
    pub adapters: Vec<LocalAdapter>,
}

/// The seed of dummy weights: any number, as long as it is always the same.
const DUMMY_SEED: u64 = 0;

impl OpenedModel {
    /// Finds or downloads the model and opens its files. `say` gets one line per step.
    pub(crate) fn open(config: &Config, say: &dyn Fn(&str)) -> anyhow::Result<Self> {
        let choice = &config.model;
        let request = ModelRequest {
            model: &choice.model,
            revision: choice.revision.as_deref(),
            load_format: choice.load_format,
        };
        let resolved = models::resolve(request, say)?;
        let checkpoint = Arc::new(resolved.open(choice.load_format, DUMMY_SEED)?);
        for warning in checkpoint.warnings() {
            tracing::warn!("{warning}");
        }
        let text = Text::load(&resolved, &checkpoint, choice.chat_template.as_deref())?;
        let (sampling, sampling_origin) = sampling(choice.sampling_defaults, &resolved.files)?;
        let asked = config.limits.max_model_len;
        let max_model_len = max_model_len(asked, resolved.max_model_len, checkpoint.config())?;
        Ok(Self {
            names: if choice.served_names.is_empty() {
                vec![resolved.name]
            } else {
                choice.served_names.clone()
            },
            checkpoint,
            text,
            sampling,
            sampling_origin,
            compute_type: choice
                .compute_type
                .or(resolved.compute_type)
                .unwrap_or(ComputeType::Bf16),
            max_model_len,
            tokenizer: resolved.tokenizer,
            adapters: resolved.adapters,
        })
    }

    pub(crate) fn config(&self) -> &ModelConfig {
        self.checkpoint.config()
    }

    /// The number of token ids that both the model and the tokenizer know.
    pub(crate) fn vocab_size(&self) -> usize {
        let tokenizer = self.text.tokenizer.vocab_size();
        tokenizer.min(self.config().vocab_size)
    }

    /// The tokens that end an answer: those of the config, the tokenizer's, and the one that the chat
    /// template ends an answer with. Fine-tuned models often change only one of them.
    pub(crate) fn end_tokens(&self) -> EndTokens {
        let template = self.text.chat_template.as_ref();
        EndTokens::of([
            (EndOrigin::Config, self.config().eos_token_ids.clone()),
            (
                EndOrigin::Tokenizer,
                self.text.tokenizer.eos_id().into_iter().collect(),
            ),
            (
                EndOrigin::ChatTemplate,
                template.and_then(|it| it.turn_end()).into_iter().collect(),
            ),
        ])
    }
}

/// The defaults of requests, and where they are from.
fn sampling(
    choice: DefaultsChoice,
    files: &ModelFiles,
) -> anyhow::Result<(SamplingDefaults, String)> {
    let neutral = || (SamplingDefaults::default(), "temperature 1".to_owned());
    let (DefaultsChoice::OfModel, ModelFiles::Directory(directory)) = (choice, files) else {
        return Ok(neutral());
    };
    let path = directory.join("generation_config.json");
    let defaults = generation_config::read(&path)?;
    Ok(match defaults.describe() {
        described if described.is_empty() => neutral(),
        described => {
            let origin = format!("{described}, as {} says", path.display());
            (defaults, origin)
        }
    })
}

fn max_model_len(
    asked: Option<usize>,
    default: Option<usize>,
    model: &ModelConfig,
) -> anyhow::Result<usize> {
    let trained = model.max_position_embeddings;
    let Some(asked) = asked else {
        return Ok(default.unwrap_or(trained).min(trained));
    };
    ensure!(
        asked <= trained,
        "--max-model-len {asked} is above the model's own limit of {trained} tokens: lower it"
    );
    Ok(asked)
}
