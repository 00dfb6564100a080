//! Reads a model's configuration from a GGUF file's metadata.

mod rope;

use super::{Architecture, Biases, Factors, Layers, ModelConfig, checked_layers, unsupported};
use crate::{ModelError, gguf_metadata::GgufMetadata};

/// What the configuration needs from a GGUF file besides its metadata.
pub(crate) struct GgufTensorFacts {
    /// Rows of the embedding. The number in the metadata is optional and may exclude padding.
    pub(crate) vocab_size: usize,
    /// Whether there is a separate output projection.
    pub(crate) has_output: bool,
    /// The biases of the first layer.
    pub(crate) biases: Biases,
    /// The values of `rope_freqs.weight`, if present.
    pub(crate) rope_divisors: Option<Vec<f32>>,
    /// The values of `rope_factors_short.weight` and `rope_factors_long.weight`, if present.
    pub(crate) long_rope_factors: Option<[Vec<f32>; 2]>,
}

/// The families that llama.cpp writes, by its name. It writes Mistral models as `llama`, from which
/// they differ only in their numbers.
const FAMILIES: [(&str, Architecture); 7] = [
    ("llama", Architecture::Llama),
    ("mistral3", Architecture::Ministral3),
    ("qwen2", Architecture::Qwen2),
    ("qwen3", Architecture::Qwen3),
    ("smollm3", Architecture::SmolLm3),
    ("granite", Architecture::Granite),
    ("phi3", Architecture::Phi3),
];

/// The metadata of one family, whose keys begin with its name.
struct Keys<'a> {
    metadata: &'a GgufMetadata,
    family: &'static str,
    architecture: Architecture,
}

impl Keys<'_> {
    fn name(&self, key: &str) -> String {
        format!("{}.{key}", self.family)
    }

    fn size(&self, key: &str) -> Result<Option<usize>, ModelError> {
        self.metadata.size(&self.name(key))
    }

    fn required_size(&self, key: &str) -> Result<usize, ModelError> {
        self.metadata.required_size(&self.name(key))
    }

    fn number(&self, key: &str) -> Result<Option<f64>, ModelError> {
        self.metadata.number(&self.name(key))
    }

    fn flag(&self, key: &str) -> Result<Option<bool>, ModelError> {
        self.metadata.flag(&self.name(key))
    }

    /// A factor. llama.cpp writes 0, or nothing, for one that is not used.
    fn factor(&self, key: &str) -> Result<Option<f64>, ModelError> {
        Ok(self.number(key)?.filter(|factor| *factor != 0.0))
    }

    /// Refuses a value that changes the computation in a way that the family does not have.
    fn refuse<T>(&self, key: &str, value: impl std::fmt::Display) -> Result<T, ModelError> {
        unsupported(format!("`{}` of {value}", self.name(key)))
    }
}

impl ModelConfig {
    /// Reads the metadata of a GGUF file.
    pub(crate) fn from_gguf(
        metadata: &GgufMetadata,
        tensors: GgufTensorFacts,
    ) -> Result<Self, ModelError> {
        let name = metadata.text("general.architecture")?.unwrap_or("unnamed");
        let Some((family, architecture)) = FAMILIES.into_iter().find(|(it, _)| *it == name) else {
            let served = FAMILIES.map(|(name, _)| name).join(", ");
            return unsupported(format!(
                "GGUF architecture `{name}`; Farthing serves {served} (Mistral models before \
                 Ministral 3 are `llama`)"
            ));
        };
        let keys = Keys {
            metadata,
            family,
            architecture,
        };
        refuse_other_maths(&keys)?;

        let hidden_size = keys.required_size("embedding_length")?;
        let num_attention_heads = keys.required_size("attention.head_count")?;
        let num_key_value_heads = keys
            .size("attention.head_count_kv")?
            .unwrap_or(num_attention_heads);
        let head_dim = match keys.size("attention.key_length")? {
            Some(head_dim) => head_dim,
            None => hidden_size.checked_div(num_attention_heads).unwrap_or(0),
        };
        if let Some(size) = keys.size("attention.value_length")?
            && size != head_dim
        {
            return unsupported(format!(
                "`{}` of {size} in a model whose keys have {head_dim} dimensions",
                keys.name("attention.value_length")
            ));
        }
        let num_hidden_layers = checked_layers(keys.required_size("block_count")?)?;
        let max_position_embeddings = keys.required_size("context_length")?;
        let sliding_window = sliding_window(&keys)?;
        let is_phi = architecture == Architecture::Phi3;
        Self {
            architecture,
            hidden_size,
            intermediate_size: keys.required_size("feed_forward_length")?,
            num_hidden_layers,
            num_attention_heads,
            num_key_value_heads,
            head_dim,
            vocab_size: tensors.vocab_size,
            max_position_embeddings,
            rms_norm_eps: keys
                .number("attention.layer_norm_rms_epsilon")?
                .ok_or_else(|| missing(&keys.name("attention.layer_norm_rms_epsilon")))?
                as f32,
            rope: rope::read(
                &keys,
                head_dim,
                tensors.rope_divisors,
                tensors.long_rope_factors,
            )?,
            unrotated_layers: unrotated_layers(architecture, num_hidden_layers),
            sliding_window,
            windowed_layers: match sliding_window {
                Some(_) => Layers::All,
                None => Layers::None,
            },
            biases: Biases {
                qkv: tensors.biases.qkv || architecture == Architecture::Qwen2,
                ..tensors.biases
            },
            has_head_norms: architecture == Architecture::Qwen3,
            is_fused: is_phi,
            factors: factors(&keys, head_dim)?,
            has_vision: false,
            tie_word_embeddings: !tensors.has_output,
            bos_token_id: metadata.special_token("bos")?,
            eos_token_ids: end_of_answer_tokens(metadata, architecture)?,
        }
        .validated()
    }
}

fn refuse_other_maths(keys: &Keys) -> Result<(), ModelError> {
    if keys.size("expert_count")?.unwrap_or(0) > 0 {
        return unsupported(format!(
            "a mixture of experts (`{}`); choose a dense model",
            keys.name("expert_count")
        ));
    }
    if keys.metadata.size("split.count")?.unwrap_or(1) > 1 {
        return unsupported(
            "a GGUF in several files (`split.count`); join them with llama.cpp's \
             `llama-gguf-split --merge`"
                .to_owned(),
        );
    }
    if keys.flag("attention.causal")? == Some(false) {
        return unsupported(format!(
            "`{}` of false: the model embeds texts and continues none",
            keys.name("attention.causal")
        ));
    }
    // llama.cpp reads it as a switch: without it, Granite has no rotary position embeddings.
    if keys.architecture == Architecture::Granite
        && keys.flag("rope.scaling.finetuned")? == Some(false)
    {
        return keys.refuse("rope.scaling.finetuned", false);
    }
    Ok(())
}

/// Granite's factors. In another family they are refused.
fn factors(keys: &Keys, head_dim: usize) -> Result<Factors, ModelError> {
    let attention = keys.factor("attention.scale")?;
    let of_head = Factors::of_head(head_dim);
    if keys.architecture == Architecture::Granite {
        let factor = |key| Ok::<_, ModelError>(keys.factor(key)?.unwrap_or(1.0) as f32);
        return Ok(Factors {
            embedding: factor("embedding_scale")?,
            residual: factor("residual_scale")?,
            attention: attention.map_or(of_head.attention, |scale| scale as f32),
            logits_divisor: factor("logit_scale")?,
        });
    }
    if let Some(scale) = attention {
        return keys.refuse("attention.scale", scale);
    }
    for key in ["logit_scale", "embedding_scale", "residual_scale"] {
        if let Some(scale) = keys.number(key)?
            && scale != 1.0
        {
            return keys.refuse(key, scale);
        }
    }
    Ok(of_head)
}

/// The window of all layers. llama.cpp writes 0 for none, and ignores a window of the families that it
/// gives none.
fn sliding_window(keys: &Keys) -> Result<Option<usize>, ModelError> {
    let window = keys.size("attention.sliding_window")?.filter(|&w| w > 0);
    match (keys.architecture, window) {
        (Architecture::Llama | Architecture::Phi3, window) => Ok(window),
        (_, Some(window)) => keys.refuse("attention.sliding_window", window),
        (_, None) => Ok(None),
    }
}

/// llama.cpp has it that every fourth layer of SmolLM3 has no rotary position embeddings.
fn unrotated_layers(architecture: Architecture, num_layers: usize) -> Layers {
    const INTERVAL: usize = 4;
    match architecture {
        Architecture::SmolLm3 => Layers::every(INTERVAL, num_layers),
        _ => Layers::None,
    }
}

/// The end-of-sequence tokens of the file. Some families have several, and their GGUF files name only
/// one: the others are found by their text, as in llama.cpp.
fn end_of_answer_tokens(
    metadata: &GgufMetadata,
    architecture: Architecture,
) -> Result<Vec<u32>, ModelError> {
    let mut ids = Vec::new();
    for name in ["eos", "eot", "eom"] {
        ids.extend(metadata.special_token(name)?);
    }
    let is_llama_3 = metadata.text("tokenizer.ggml.pre")? == Some("llama-bpe");
    let ends: &[&str] = match architecture {
        Architecture::Qwen2 | Architecture::Qwen3 => &["<|endoftext|>", "<|im_end|>"],
        Architecture::Phi3 => &["<|endoftext|>", "<|end|>"],
        _ if is_llama_3 => &["<|end_of_text|>", "<|eom_id|>", "<|eot_id|>"],
        _ => &[],
    };
    if !ends.is_empty() {
        let tokens = metadata.texts("tokenizer.ggml.tokens")?;
        let is_end = |token: &String| ends.contains(&token.as_str());
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
