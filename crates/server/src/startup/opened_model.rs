//! The model to serve, with its files open.

use std::sync::Arc;

use anyhow::ensure;
use farthing_economics::TokenizerFamily;
use farthing_model::{Checkpoint, ComputeType, ModelConfig};

use super::config::Config;
use super::text::Text;
use crate::models::{self, LocalAdapter, ModelRequest};

/// Everything that is known about a model before its weights are loaded.
pub(crate) struct OpenedModel {
    /// The names that requests may use for it; never empty.
    pub names: Vec<String>,
    pub checkpoint: Arc<Checkpoint>,
    pub text: Text,
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
        let text = Text::load(&resolved, &checkpoint)?;
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

    /// The tokens that end an answer. If the model's config names none, the tokenizer does.
    pub(crate) fn eos_token_ids(&self) -> Arc<[u32]> {
        let ids = &self.config().eos_token_ids;
        if ids.is_empty() {
            self.text.tokenizer.eos_id().into_iter().collect()
        } else {
            ids.clone().into()
        }
    }
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
