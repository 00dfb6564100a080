//! Reads Hugging Face's `config.json` and `generation_config.json`.

mod attention;
mod family;
mod fields;
mod rope;

use serde_json::Value;

use self::{family::Family, fields::Fields};
use super::{Architecture, Biases, Factors, ModelConfig, checked_layers, refuse, unsupported};
use crate::ModelError;

impl ModelConfig {
    /// Reads the parsed `config.json` of a Hugging Face model. Absent fields get transformers'
    /// defaults, except for sizes, which are required. Rotary settings are accepted in both forms:
    /// `rope_theta` with `rope_scaling`, and the `rope_parameters` of transformers 5.
    ///
    /// # Errors
    /// [`ModelError::Unsupported`] for an architecture or field that would change the computation;
    /// [`ModelError::Config`] for a field that is missing or invalid.
    pub fn from_hf_json(json: &Value) -> Result<Self, ModelError> {
        let fields = Fields::of(json, "config.json")?;
        refuse_quantised(&fields)?;
        if let Some(text) = family::text_config(&fields)? {
            refuse_quantised(&text)?;
            let config = from_fields(&text)?;
            return Ok(Self {
                has_vision: true,
                tie_word_embeddings: fields
                    .flag("tie_word_embeddings")?
                    .unwrap_or(config.tie_word_embeddings),
                ..config
            });
        }
        from_fields(&fields)
    }

    /// Applies the parsed `generation_config.json`: its list of end-of-sequence tokens replaces the
    /// one of `config.json`, as in transformers and vLLM.
    pub fn with_generation_config(mut self, json: &Value) -> Result<Self, ModelError> {
        let fields = Fields::of(json, "generation_config.json")?;
        if fields.present("eos_token_id") {
            self.eos_token_ids = fields.token_ids("eos_token_id")?;
        }
        self.validated()
    }
}

fn from_fields(fields: &Fields) -> Result<ModelConfig, ModelError> {
    let architecture = family::architecture(fields)?;
    let family = Family::of(architecture);
    if let Some(activation) = fields.text("hidden_act")?
        && !["silu", "swish"].contains(&activation)
    {
        return unsupported(format!(
            "`hidden_act`: {activation}; Farthing computes silu alone"
        ));
    }

    let hidden_size = fields.required_size("hidden_size")?;
    let num_attention_heads = fields.required_size("num_attention_heads")?;
    let head_dim = match fields.size("head_dim")?.or(family.head_dim) {
        Some(head_dim) => head_dim,
        None if num_attention_heads == 0 => 0,
        None if !hidden_size.is_multiple_of(num_attention_heads) => {
            return refuse(format!(
                "hidden_size ({hidden_size}) is not a multiple of num_attention_heads \
                 ({num_attention_heads}) and there is no head_dim"
            ));
        }
        None => hidden_size / num_attention_heads,
    };
    let num_key_value_heads = match fields.size("num_key_value_heads")? {
        Some(heads) => Some(heads),
        None if fields.0.contains_key("num_key_value_heads") => None,
        None => family.num_key_value_heads,
    };
    let num_hidden_layers = checked_layers(fields.required_size("num_hidden_layers")?)?;
    let max_position_embeddings = fields
        .size("max_position_embeddings")?
        .unwrap_or(family.max_position_embeddings);
    let (sliding_window, windowed_layers) =
        attention::windows(fields, architecture, num_hidden_layers)?;
    ModelConfig {
        architecture,
        hidden_size,
        intermediate_size: fields.required_size("intermediate_size")?,
        num_hidden_layers,
        num_attention_heads,
        num_key_value_heads: num_key_value_heads.unwrap_or(num_attention_heads),
        head_dim,
        vocab_size: fields.required_size("vocab_size")?,
        max_position_embeddings,
        rms_norm_eps: fields
            .number("rms_norm_eps")?
            .unwrap_or(family.rms_norm_eps) as f32,
        rope: rope::read(fields, &family, head_dim, max_position_embeddings)?,
        unrotated_layers: attention::unrotated_layers(fields, architecture, num_hidden_layers)?,
        sliding_window,
        windowed_layers,
        biases: biases(fields, architecture)?,
        has_head_norms: architecture == Architecture::Qwen3,
        is_fused: architecture == Architecture::Phi3,
        factors: factors(fields, architecture, head_dim)?,
        has_vision: false,
        tie_word_embeddings: fields
            .flag("tie_word_embeddings")?
            .unwrap_or(family.tie_word_embeddings),
        bos_token_id: fields
            .token_ids_or("bos_token_id", family.bos_token_id)?
            .first()
            .copied(),
        eos_token_ids: fields.token_ids_or("eos_token_id", family.eos_token_id)?,
    }
    .validated()
}

fn refuse_quantised(fields: &Fields) -> Result<(), ModelError> {
    if fields.present("quantization_config") {
        let quantization = &fields.0["quantization_config"];
        let method = quantization
            .get("quant_method")
            .and_then(Value::as_str)
            .unwrap_or("unnamed");
        return unsupported(format!(
            "`quantization_config` (method {method}); choose the unquantised model or a GGUF file"
        ));
    }
    Ok(())
}

/// The biases of a family. transformers' Qwen2 always has those of queries, keys and values, whatever
/// the config says; the families that it gives none are refused if the config calls for one.
fn biases(fields: &Fields, architecture: Architecture) -> Result<Biases, ModelError> {
    let attention = fields.flag("attention_bias")?.unwrap_or(false);
    let mlp = fields.flag("mlp_bias")?.unwrap_or(false);
    let (may_attend, may_mlp) = match architecture {
        Architecture::Llama | Architecture::SmolLm3 | Architecture::Granite => (true, true),
        Architecture::Qwen2 | Architecture::Qwen3 => (true, false),
        Architecture::Mistral | Architecture::Ministral3 | Architecture::Phi3 => (false, false),
    };
    for (name, is_set, may_be) in [
        ("attention_bias", attention, may_attend),
        ("mlp_bias", mlp, may_mlp),
    ] {
        if is_set && !may_be {
            return unsupported(format!(
                "`{name}`: true; a {architecture} model has no such bias, choose a model without it"
            ));
        }
    }
    let is_qwen_2 = architecture == Architecture::Qwen2;
    Ok(Biases {
        qkv: is_qwen_2 || attention,
        o: !is_qwen_2 && attention,
        mlp,
    })
}

/// Granite's factors. In a config of another family they are refused, as long as they are not 1.
fn factors(
    fields: &Fields,
    architecture: Architecture,
    head_dim: usize,
) -> Result<Factors, ModelError> {
    let embedding = fields.factor("embedding_multiplier")?;
    let residual = fields.factor("residual_multiplier")?;
    let attention = fields.factor("attention_multiplier")?;
    let logits_divisor = fields.factor("logits_scaling")?;
    if architecture == Architecture::Granite {
        return Ok(Factors {
            embedding,
            residual,
            attention,
            logits_divisor,
        });
    }
    for (name, factor) in [
        ("embedding_multiplier", embedding),
        ("residual_multiplier", residual),
        ("attention_multiplier", attention),
        ("logits_scaling", logits_divisor),
    ] {
        if factor != 1.0 {
            return unsupported(format!(
                "`{name}`: {factor}; a {architecture} model has no such factor"
            ));
        }
    }
    Ok(Factors::of_head(head_dim))
}
