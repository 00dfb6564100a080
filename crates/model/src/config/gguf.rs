//! Reads a model's configuration from a GGUF file's metadata.

use super::{Architecture, ModelConfig};
use crate::{ModelError, RopeConfig, RopeScaling, gguf_metadata::GgufMetadata};

/// What the configuration needs from a GGUF file besides its metadata.
pub(crate) struct GgufTensorFacts {
    /// Rows of the embedding. The number in the metadata is optional and may exclude padding.
    pub(crate) vocab_size: usize,
    /// Whether there is a separate output projection.
    pub(crate) has_output: bool,
    /// The values of `rope_freqs.weight`, if present.
    pub(crate) rope_divisors: Option<Vec<f32>>,
}

impl ModelConfig {
    /// Reads the metadata of a GGUF file with llama.cpp's architecture `llama`, which is used for
    /// Llama and Mistral models.
    pub(crate) fn from_gguf(
        metadata: &GgufMetadata,
        tensors: GgufTensorFacts,
    ) -> Result<Self, ModelError> {
        let architecture = metadata.text("general.architecture")?.unwrap_or("unnamed");
        if architecture != "llama" {
            return unsupported(format!(
                "GGUF architecture `{architecture}`; Farthing serves `llama`, choose a Llama or \
                 Mistral model"
            ));
        }
        refuse_other_maths(metadata)?;

        let hidden_size = metadata.required_size("llama.embedding_length")?;
        let num_attention_heads = metadata.required_size("llama.attention.head_count")?;
        let num_key_value_heads = metadata
            .size("llama.attention.head_count_kv")?
            .unwrap_or(num_attention_heads);
        let head_dim = match metadata.size("llama.attention.key_length")? {
            Some(head_dim) => head_dim,
            None => hidden_size.checked_div(num_attention_heads).unwrap_or(0),
        };
        for key in ["llama.attention.value_length", "llama.rope.dimension_count"] {
            if let Some(size) = metadata.size(key)?
                && size != head_dim
            {
                return unsupported(format!(
                    "`{key}` of {size} in a model whose keys have {head_dim} dimensions"
                ));
            }
        }
        Self {
            // GGUF files of Llama and Mistral models differ only in their numbers.
            architecture: Architecture::Llama,
            hidden_size,
            intermediate_size: metadata.required_size("llama.feed_forward_length")?,
            num_hidden_layers: metadata.required_size("llama.block_count")?,
            num_attention_heads,
            num_key_value_heads,
            head_dim,
            vocab_size: tensors.vocab_size,
            max_position_embeddings: metadata.required_size("llama.context_length")?,
            rms_norm_eps: metadata
                .number("llama.attention.layer_norm_rms_epsilon")?
                .ok_or_else(|| missing("llama.attention.layer_norm_rms_epsilon"))?
                as f32,
            rope: rope(metadata, head_dim, tensors.rope_divisors)?,
            sliding_window: metadata
                .size("llama.attention.sliding_window")?
                .filter(|&w| w > 0),
            tie_word_embeddings: !tensors.has_output,
            bos_token_id: metadata.special_token("bos")?,
            eos_token_ids: end_of_answer_tokens(metadata)?,
        }
        .validated()
    }
}

fn refuse_other_maths(metadata: &GgufMetadata) -> Result<(), ModelError> {
    if metadata.size("llama.expert_count")?.unwrap_or(0) > 0 {
        return unsupported(
            "a mixture of experts (`llama.expert_count`); choose a dense model".to_owned(),
        );
    }
    if metadata.size("split.count")?.unwrap_or(1) > 1 {
        return unsupported(
            "a GGUF in several files (`split.count`); join them with llama.cpp's \
             `llama-gguf-split --merge`"
                .to_owned(),
        );
    }
    if metadata.flag("llama.attention.causal")? == Some(false) {
        return unsupported(
            "`llama.attention.causal` of false: the model embeds texts and continues none"
                .to_owned(),
        );
    }
    if let Some(scale) = metadata.number("llama.attention.scale")?
        && scale != 0.0
    {
        return unsupported(format!("`llama.attention.scale` of {scale}"));
    }
    for key in [
        "llama.logit_scale",
        "llama.embedding_scale",
        "llama.residual_scale",
        "llama.rope.scaling.attn_factor",
    ] {
        if let Some(scale) = metadata.number(key)?
            && scale != 1.0
        {
            return unsupported(format!("`{key}` of {scale}"));
        }
    }
    Ok(())
}

fn rope(
    metadata: &GgufMetadata,
    head_dim: usize,
    divisors: Option<Vec<f32>>,
) -> Result<RopeConfig, ModelError> {
    let kind = metadata.text("llama.rope.scaling.type")?;
    // Files older than `scaling.type` have `scale_linear`.
    let factor = match metadata.number("llama.rope.scaling.factor")? {
        Some(factor) => Some(factor),
        None => metadata.number("llama.rope.scale_linear")?,
    };
    let scaling = match (kind, factor, divisors) {
        (None | Some("none"), None, Some(divisors)) => RopeScaling::Divisors(divisors),
        (None | Some("linear"), Some(factor), None) if factor != 1.0 => {
            RopeScaling::Linear { factor }
        }
        (None | Some("none" | "linear"), _, None) => RopeScaling::None,
        (Some("linear"), None, Some(divisors))
        | (None | Some("none" | "linear"), Some(1.0), Some(divisors)) => {
            RopeScaling::Divisors(divisors)
        }
        (None | Some("none" | "linear"), _, Some(_)) => {
            return unsupported("linear rope scaling together with `rope_freqs.weight`".to_owned());
        }
        (Some(other), ..) => {
            return unsupported(format!(
                "`llama.rope.scaling.type` {other}; Farthing computes linear and `rope_freqs.weight`"
            ));
        }
    };
    let theta = metadata.number("llama.rope.freq_base")?.unwrap_or(10_000.0);
    Ok(RopeConfig {
        theta,
        scaling,
        head_dim,
    })
}

/// The end-of-sequence tokens of the file. Llama 3 has three, and its GGUF files name only one.
fn end_of_answer_tokens(metadata: &GgufMetadata) -> Result<Vec<u32>, ModelError> {
    let mut ids = Vec::new();
    for name in ["eos", "eot", "eom"] {
        ids.extend(metadata.special_token(name)?);
    }
    if metadata.text("tokenizer.ggml.pre")? == Some("llama-bpe") {
        let tokens = metadata.texts("tokenizer.ggml.tokens")?;
        let is_end = |token: &String| {
            ["<|end_of_text|>", "<|eom_id|>", "<|eot_id|>"].contains(&token.as_str())
        };
        ids.extend(
            (0..)
                .zip(&tokens)
                .filter(|(_, token)| is_end(token))
                .map(|(id, _)| id),
        );
    }
    ids.sort_unstable();
    ids.dedup();
    Ok(ids)
}

fn missing(key: &str) -> ModelError {
    ModelError::Config(format!(
        "the GGUF's metadata has no `{key}`; is it a whole model?"
    ))
}

fn unsupported<T>(what: String) -> Result<T, ModelError> {
    Err(ModelError::Unsupported(what))
}
