//! A model's sizes, and the choices in which the model families differ.

mod architecture;
mod gguf;
mod hf;
mod layers;
mod tensors;
mod validation;

use crate::{ModelError, RopeConfig};
pub use architecture::Architecture;
pub(crate) use gguf::GgufTensorFacts;
pub use layers::Layers;
pub(crate) use tensors::LinearShape;

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
    /// Layers without rotary position embeddings.
    pub unrotated_layers: Layers,
    /// The attention window: a token attends to itself and to the previous `sliding_window - 1`
    /// tokens. `None` is unlimited.
    pub sliding_window: Option<usize>,
    /// The layers that have the attention window. The others attend to the whole context.
    pub windowed_layers: Layers,
    /// Linear layers with a bias.
    pub biases: Biases,
    /// Whether RMSNorm is applied to each head's query and key.
    pub has_head_norms: bool,
    /// Whether queries, keys and values are one linear layer, and gate and up projection another.
    pub is_fused: bool,
    /// Constant factors.
    pub factors: Factors,
    /// Whether this is the text part of a model for text and images. Only that part is served.
    pub has_vision: bool,
    /// Whether the output projection is the embedding. Then there is no `lm_head.weight`. Of an
    /// opened checkpoint it is what its file holds, whatever its config says.
    pub tie_word_embeddings: bool,
    /// The beginning-of-sequence token.
    pub bos_token_id: Option<u32>,
    /// The tokens that end an answer. May be empty.
    pub eos_token_ids: Vec<u32>,
}

/// Which linear layers of a decoder layer have a bias.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Biases {
    /// `q_proj`, `k_proj` and `v_proj`.
    pub qkv: bool,
    /// `o_proj`.
    pub o: bool,
    /// `gate_proj`, `up_proj` and `down_proj`.
    pub mlp: bool,
}

/// Constant factors of a model.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Factors {
    /// Factor of embeddings.
    pub embedding: f32,
    /// Factor of what a layer adds to the residual stream.
    pub residual: f32,
    /// Factor of the products of queries and keys.
    pub attention: f32,
    /// Divisor of logits.
    pub logits_divisor: f32,
}

impl Factors {
    /// Those of most models: only the products of queries and keys are scaled, by the root of the
    /// size of a head.
    pub(crate) fn of_head(head_dim: usize) -> Self {
        Self {
            embedding: 1.0,
            residual: 1.0,
            attention: 1.0 / (head_dim as f32).sqrt(),
            logits_divisor: 1.0,
        }
    }
}

impl ModelConfig {
    /// The attention window of a layer; `None` is unlimited.
    pub fn window_of(&self, layer: usize) -> Option<usize> {
        self.sliding_window
            .filter(|_| self.windowed_layers.contains(layer))
    }

    /// The attention window that all layers have; `None` if one is unlimited.
    pub fn window_of_all(&self) -> Option<usize> {
        self.sliding_window.filter(|_| {
            (0..self.num_hidden_layers).all(|layer| self.windowed_layers.contains(layer))
        })
    }

    /// Total width of all query heads.
    pub fn q_size(&self) -> usize {
        self.num_attention_heads * self.head_dim
    }

    /// Total width of all key heads, which is also that of all value heads.
    pub fn kv_size(&self) -> usize {
        self.num_key_value_heads * self.head_dim
    }
}

/// Refuses a number of layers for which lists with an entry for each layer would be large.
fn checked_layers(layers: usize) -> Result<usize, ModelError> {
    /// Far above any real model.
    const MAX_LAYERS: usize = 1 << 16;
    if layers > MAX_LAYERS {
        return refuse(format!(
            "num_hidden_layers is {layers}; it must be at most {MAX_LAYERS}"
        ));
    }
    Ok(layers)
}

fn refuse<T>(reason: String) -> Result<T, ModelError> {
    Err(ModelError::Config(reason))
}

fn unsupported<T>(what: String) -> Result<T, ModelError> {
    Err(ModelError::Unsupported(what))
}
