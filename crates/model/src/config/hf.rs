//! Reads Hugging Face's `config.json` and `generation_config.json`.

use serde_json::{Map, Value};

use super::{Architecture, ModelConfig, refuse};
use crate::{ModelError, RopeConfig, RopeScaling};

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
        let architecture = architecture(&fields)?;
        refuse_other_maths(&fields)?;

        let hidden_size = fields.required_size("hidden_size")?;
        let num_attention_heads = fields.required_size("num_attention_heads")?;
        let head_dim = match fields.size("head_dim")? {
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
        let max_position_embeddings = match fields.size("max_position_embeddings")? {
            Some(length) => length,
            None if architecture == Architecture::Llama => 2048,
            None => 4096 * 32,
        };
        Self {
            architecture,
            hidden_size,
            intermediate_size: fields.required_size("intermediate_size")?,
            num_hidden_layers: fields.required_size("num_hidden_layers")?,
            num_attention_heads,
            num_key_value_heads: num_key_value_heads(&fields, architecture, num_attention_heads)?,
            head_dim,
            vocab_size: fields.required_size("vocab_size")?,
            max_position_embeddings,
            rms_norm_eps: fields.number("rms_norm_eps")?.unwrap_or(1e-6) as f32,
            rope: rope(&fields, head_dim, max_position_embeddings)?,
            sliding_window: sliding_window(&fields, architecture)?,
            tie_word_embeddings: fields.flag("tie_word_embeddings")?.unwrap_or(false),
            bos_token_id: fields.token_ids_or("bos_token_id", 1)?.first().copied(),
            eos_token_ids: fields.token_ids_or("eos_token_id", 2)?,
        }
        .validated()
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

fn architecture(fields: &Fields) -> Result<Architecture, ModelError> {
    let names = fields.0.get("architectures").and_then(Value::as_array);
    let name = names
        .and_then(|names| names.first())
        .and_then(Value::as_str);
    let name = match (name, fields.text("model_type")?) {
        (Some(name), _) => name,
        (None, Some("llama")) => "LlamaForCausalLM",
        (None, Some("mistral")) => "MistralForCausalLM",
        (None, Some(other)) => other,
        (None, None) => {
            return refuse(
                "config.json has neither `architectures` nor `model_type`: expected \
                 the config of a model"
                    .to_owned(),
            );
        }
    };
    match name {
        "LlamaForCausalLM" => Ok(Architecture::Llama),
        "MistralForCausalLM" => Ok(Architecture::Mistral),
        other => unsupported(format!(
            "architecture `{other}`; Farthing serves LlamaForCausalLM and MistralForCausalLM, \
             choose a model of one of these"
        )),
    }
}

fn refuse_other_maths(fields: &Fields) -> Result<(), ModelError> {
    for name in ["attention_bias", "mlp_bias"] {
        if fields.flag(name)?.unwrap_or(false) {
            return unsupported(format!(
                "`{name}`: true; Farthing's linear layers have no bias, choose a model without it"
            ));
        }
    }
    if let Some(activation) = fields.text("hidden_act")?
        && !["silu", "swish"].contains(&activation)
    {
        return unsupported(format!(
            "`hidden_act`: {activation}; Farthing computes silu alone"
        ));
    }
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

fn num_key_value_heads(
    fields: &Fields,
    architecture: Architecture,
    num_attention_heads: usize,
) -> Result<usize, ModelError> {
    Ok(match (fields.size("num_key_value_heads")?, architecture) {
        (Some(heads), _) => heads,
        (None, Architecture::Mistral) if !fields.0.contains_key("num_key_value_heads") => 8,
        (None, _) => num_attention_heads,
    })
}

fn sliding_window(
    fields: &Fields,
    architecture: Architecture,
) -> Result<Option<usize>, ModelError> {
    if architecture == Architecture::Llama {
        // transformers' Llama ignores this field and attends to the whole context.
        return Ok(None);
    }
    if fields.present("layer_types") {
        return unsupported(
            "`layer_types` in a Mistral config; Farthing gives all layers the same window".into(),
        );
    }
    if fields.0.contains_key("sliding_window") {
        fields.size("sliding_window")
    } else {
        Ok(Some(4096))
    }
}

fn rope(
    fields: &Fields,
    head_dim: usize,
    max_position_embeddings: usize,
) -> Result<RopeConfig, ModelError> {
    let empty = Map::new();
    let parameters = ["rope_scaling", "rope_parameters"]
        .into_iter()
        .find_map(|name| {
            fields
                .0
                .get(name)
                .and_then(Value::as_object)
                .filter(|map| !map.is_empty())
        });
    let parameters = Fields(parameters.unwrap_or(&empty), "rope parameters");

    for fields in [fields, &parameters] {
        if let Some(factor) = fields.number("partial_rotary_factor")?
            && factor != 1.0
        {
            return unsupported(format!(
                "`partial_rotary_factor`: {factor}; Farthing rotates whole heads"
            ));
        }
    }
    let theta = match parameters.number("rope_theta")? {
        Some(theta) => theta,
        None => fields.number("rope_theta")?.unwrap_or(10_000.0),
    };
    let kind = match parameters.text("rope_type")? {
        Some(kind) => kind,
        None => parameters.text("type")?.unwrap_or("default"),
    };
    let scaling = match kind {
        "default" => RopeScaling::None,
        "linear" => RopeScaling::Linear {
            factor: parameters.required_number("factor")?,
        },
        "llama3" => RopeScaling::Llama3 {
            factor: parameters.required_number("factor")?,
            low_freq_factor: parameters.required_number("low_freq_factor")?,
            high_freq_factor: parameters.required_number("high_freq_factor")?,
            original_max_position_embeddings: parameters
                .size("original_max_position_embeddings")?
                .unwrap_or(max_position_embeddings),
        },
        other => {
            return unsupported(format!(
                "rope type `{other}`; Farthing computes default, linear and llama3"
            ));
        }
    };
    Ok(RopeConfig {
        theta,
        scaling,
        head_dim,
    })
}

/// A JSON object and its name for errors. `null` counts as absent, as in transformers.
struct Fields<'a>(&'a Map<String, Value>, &'static str);

impl<'a> Fields<'a> {
    fn of(json: &'a Value, what: &'static str) -> Result<Self, ModelError> {
        match json.as_object() {
            Some(map) => Ok(Self(map, what)),
            None => refuse(format!("{what} is not a JSON object")),
        }
    }

    fn get(&self, name: &str) -> Option<&'a Value> {
        self.0.get(name).filter(|value| !value.is_null())
    }

    fn present(&self, name: &str) -> bool {
        self.get(name).is_some()
    }

    fn read<T>(
        &self,
        name: &str,
        wanted: &str,
        parse: impl FnOnce(&'a Value) -> Option<T>,
    ) -> Result<Option<T>, ModelError> {
        let Some(value) = self.get(name) else {
            return Ok(None);
        };
        match parse(value) {
            Some(parsed) => Ok(Some(parsed)),
            None => refuse(format!("`{name}` in {} is {value}, not {wanted}", self.1)),
        }
    }

    fn size(&self, name: &str) -> Result<Option<usize>, ModelError> {
        self.read(name, "a whole number", |value| {
            value.as_u64()?.try_into().ok()
        })
    }

    fn number(&self, name: &str) -> Result<Option<f64>, ModelError> {
        self.read(name, "a number", Value::as_f64)
    }

    fn flag(&self, name: &str) -> Result<Option<bool>, ModelError> {
        self.read(name, "true or false", Value::as_bool)
    }

    fn text(&self, name: &str) -> Result<Option<&'a str>, ModelError> {
        self.read(name, "a string", Value::as_str)
    }

    fn required_size(&self, name: &str) -> Result<usize, ModelError> {
        self.size(name)?.ok_or_else(|| self.missing(name))
    }

    fn required_number(&self, name: &str) -> Result<f64, ModelError> {
        self.number(name)?.ok_or_else(|| self.missing(name))
    }

    /// Like [`Self::token_ids`], with transformers' default for an absent field. `null` means no
    /// token.
    fn token_ids_or(&self, name: &str, default: u32) -> Result<Vec<u32>, ModelError> {
        if self.0.contains_key(name) {
            self.token_ids(name)
        } else {
            Ok(vec![default])
        }
    }

    /// One id or a list of ids. Empty if absent.
    fn token_ids(&self, name: &str) -> Result<Vec<u32>, ModelError> {
        let id = |value: &Value| u32::try_from(value.as_u64()?).ok();
        let ids = self.read(name, "a token id or a list of them", |value| match value {
            Value::Array(values) => values.iter().map(id).collect(),
            value => Some(vec![id(value)?]),
        })?;
        Ok(ids.unwrap_or_default())
    }

    fn missing(&self, name: &str) -> ModelError {
        ModelError::Config(format!("`{name}` is missing from {}", self.1))
    }
}

fn unsupported<T>(what: String) -> Result<T, ModelError> {
    Err(ModelError::Unsupported(what))
}
