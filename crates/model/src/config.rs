//! A model's sizes, and the choices in which Llama and Mistral models differ.

mod gguf;
mod hf;

use crate::{ModelError, RopeConfig, RopeScaling};
pub(crate) use gguf::GgufTensorFacts;

/// The model family. The same code computes both; they differ in defaults and in Mistral's sliding
/// window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Architecture {
    /// Llama 2, 3, 3.1, 3.2 and models with the same architecture (SmolLM2, TinyLlama, …).
    Llama,
    /// Mistral v0.1 to v0.3.
    Mistral,
}

/// A complete model configuration. Field names are those of Hugging Face's `config.json`.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelConfig {
    /// The model family.
    pub architecture: Architecture,
    /// Width of the residual stream.
    pub hidden_size: usize,
    /// Width of the gated MLP.
    pub intermediate_size: usize,
    /// Number of decoder layers.
    pub num_hidden_layers: usize,
    /// Number of query heads.
    pub num_attention_heads: usize,
    /// Number of key and value heads; divides `num_attention_heads`.
    pub num_key_value_heads: usize,
    /// Size of one head; `num_attention_heads × head_dim` need not be `hidden_size`.
    pub head_dim: usize,
    /// Rows of the embedding.
    pub vocab_size: usize,
    /// The longest context the model was trained for, in tokens.
    pub max_position_embeddings: usize,
    /// Added to the mean square in RMSNorm.
    pub rms_norm_eps: f32,
    /// Rotary position embeddings.
    pub rope: RopeConfig,
    /// The attention window: a token attends to itself and to the previous `sliding_window - 1`
    /// tokens. `None` is unlimited.
    pub sliding_window: Option<usize>,
    /// Whether the output projection is the embedding. Then there is no `lm_head.weight`. Of an
    /// opened checkpoint it is what its file holds, whatever its config says.
    pub tie_word_embeddings: bool,
    /// The beginning-of-sequence token.
    pub bos_token_id: Option<u32>,
    /// The tokens that end an answer. May be empty.
    pub eos_token_ids: Vec<u32>,
}

impl ModelConfig {
    /// Total width of all query heads.
    pub fn q_size(&self) -> usize {
        self.num_attention_heads * self.head_dim
    }

    /// Total width of all key heads, which is also that of all value heads.
    pub fn kv_size(&self) -> usize {
        self.num_key_value_heads * self.head_dim
    }

    /// Number of weights. A tied output projection counts once.
    pub fn num_parameters(&self) -> usize {
        self.tensor_shapes()
            .map(|(_, shape)| shape.iter().product::<usize>())
            .sum()
    }

    /// All tensors of the model, with Hugging Face's names, in the order of computation. A matrix
    /// has shape `[rows, columns]`, a linear layer's rows being its outputs; a norm has shape
    /// `[columns]`.
    pub fn tensor_shapes(&self) -> impl Iterator<Item = (String, Vec<usize>)> + '_ {
        let (hidden, mlp) = (self.hidden_size, self.intermediate_size);
        let (q, kv) = (self.q_size(), self.kv_size());
        let layer = [
            ("input_layernorm", vec![hidden]),
            ("self_attn.q_proj", vec![q, hidden]),
            ("self_attn.k_proj", vec![kv, hidden]),
            ("self_attn.v_proj", vec![kv, hidden]),
            ("self_attn.o_proj", vec![hidden, q]),
            ("post_attention_layernorm", vec![hidden]),
            ("mlp.gate_proj", vec![mlp, hidden]),
            ("mlp.up_proj", vec![mlp, hidden]),
            ("mlp.down_proj", vec![hidden, mlp]),
        ];
        let layers = (0..self.num_hidden_layers).flat_map(move |index| {
            layer
                .clone()
                .map(|(name, shape)| (format!("model.layers.{index}.{name}.weight"), shape))
        });
        let embedding = vec![self.vocab_size, hidden];
        let lm_head =
            (!self.tie_word_embeddings).then(|| ("lm_head.weight".to_owned(), embedding.clone()));
        std::iter::once(("model.embed_tokens.weight".to_owned(), embedding))
            .chain(layers)
            .chain(std::iter::once((
                "model.norm.weight".to_owned(),
                vec![hidden],
            )))
            .chain(lm_head)
    }

    /// The names of all modules of Hugging Face's model.
    pub(crate) fn module_names(&self) -> impl Iterator<Item = String> + '_ {
        let layer = [
            "",
            ".self_attn",
            ".self_attn.q_proj",
            ".self_attn.k_proj",
            ".self_attn.v_proj",
            ".self_attn.o_proj",
            ".mlp",
            ".mlp.gate_proj",
            ".mlp.up_proj",
            ".mlp.down_proj",
            ".mlp.act_fn",
            ".input_layernorm",
            ".post_attention_layernorm",
        ];
        let layers = (0..self.num_hidden_layers)
            .flat_map(move |index| layer.map(|module| format!("model.layers.{index}{module}")));
        let ends = [
            "model",
            "model.embed_tokens",
            "model.layers",
            "model.norm",
            "model.rotary_emb",
            "lm_head",
        ];
        ends.map(str::to_owned).into_iter().chain(layers)
    }

    /// Rejects impossible sizes, so that later multiplications and divisions are safe.
    fn validated(self) -> Result<Self, ModelError> {
        // 2²⁴ is far above any real size, and the product of two such sizes fits into 64 bits.
        const LARGEST: usize = 1 << 24;
        let sizes = [
            ("hidden_size", self.hidden_size),
            ("intermediate_size", self.intermediate_size),
            ("num_hidden_layers", self.num_hidden_layers),
            ("num_attention_heads", self.num_attention_heads),
            ("num_key_value_heads", self.num_key_value_heads),
            ("head_dim", self.head_dim),
            ("vocab_size", self.vocab_size),
            ("max_position_embeddings", self.max_position_embeddings),
            ("sliding_window", self.sliding_window.unwrap_or(1)),
        ];
        for (name, size) in sizes {
            if !(1..=LARGEST).contains(&size) {
                return refuse(format!(
                    "{name} is {size}; it must lie between 1 and {LARGEST}"
                ));
            }
        }
        if !self
            .num_attention_heads
            .is_multiple_of(self.num_key_value_heads)
        {
            return refuse(format!(
                "num_attention_heads ({}) is not a multiple of num_key_value_heads ({})",
                self.num_attention_heads, self.num_key_value_heads
            ));
        }
        if !self.head_dim.is_multiple_of(2) {
            return refuse(format!(
                "head_dim is {}; rotary embeddings need an even size",
                self.head_dim
            ));
        }
        if !(self.rms_norm_eps.is_finite() && self.rms_norm_eps >= 0.0) {
            return refuse(format!("rms_norm_eps is {}", self.rms_norm_eps));
        }
        self.rope.validate()?;
        let special = self.bos_token_id.iter().chain(&self.eos_token_ids);
        if let Some(id) = special
            .into_iter()
            .find(|id| **id as usize >= self.vocab_size)
        {
            return refuse(format!(
                "special token id {id} lies outside the vocabulary of {} tokens",
                self.vocab_size
            ));
        }
        Ok(self)
    }
}

impl RopeConfig {
    fn validate(&self) -> Result<(), ModelError> {
        let positive = |name: &str, value: f64| {
            if value.is_finite() && value > 0.0 {
                Ok(())
            } else {
                refuse(format!(
                    "rope {name} is {value}; it must be a positive number"
                ))
            }
        };
        positive("theta", self.theta)?;
        match &self.scaling {
            RopeScaling::None => Ok(()),
            RopeScaling::Linear { factor } => positive("factor", *factor),
            RopeScaling::Llama3 {
                factor,
                low_freq_factor,
                high_freq_factor,
                original_max_position_embeddings,
            } => {
                positive("factor", *factor)?;
                positive("low_freq_factor", *low_freq_factor)?;
                positive("high_freq_factor", *high_freq_factor)?;
                positive(
                    "original_max_position_embeddings",
                    *original_max_position_embeddings as f64,
                )?;
                if high_freq_factor <= low_freq_factor {
                    return refuse(format!(
                        "rope high_freq_factor ({high_freq_factor}) must be above \
                         low_freq_factor ({low_freq_factor})"
                    ));
                }
                Ok(())
            }
            RopeScaling::Divisors(divisors) => {
                if divisors.len() != self.head_dim / 2 {
                    return refuse(format!(
                        "rope_freqs.weight has {} values; a head of {} needs {}",
                        divisors.len(),
                        self.head_dim,
                        self.head_dim / 2
                    ));
                }
                divisors
                    .iter()
                    .try_for_each(|value| positive("divisor", f64::from(*value)))
            }
        }
    }
}

fn refuse<T>(reason: String) -> Result<T, ModelError> {
    Err(ModelError::Config(reason))
}
