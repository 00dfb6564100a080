//! Which family a `config.json` belongs to, and transformers' defaults for it.

use super::{Architecture, Fields, refuse, unsupported};
use crate::ModelError;

/// Text and images. The text part is served.
const WITH_IMAGES: &str = "Mistral3ForConditionalGeneration";

/// The values of absent fields.
pub(super) struct Family {
    pub(super) architecture: Architecture,
    /// `None`: the hidden size is divided among the heads.
    pub(super) head_dim: Option<usize>,
    /// `None`: as many as query heads.
    pub(super) num_key_value_heads: Option<usize>,
    pub(super) max_position_embeddings: usize,
    pub(super) rms_norm_eps: f64,
    pub(super) rope_theta: f64,
    pub(super) tie_word_embeddings: bool,
    pub(super) bos_token_id: Option<u32>,
    pub(super) eos_token_id: Option<u32>,
}

impl Family {
    /// The defaults of transformers' configuration classes.
    pub(super) fn of(architecture: Architecture) -> Self {
        let llama = Self {
            architecture,
            head_dim: None,
            num_key_value_heads: None,
            max_position_embeddings: 2048,
            rms_norm_eps: 1e-6,
            rope_theta: 10_000.0,
            tie_word_embeddings: false,
            bos_token_id: Some(1),
            eos_token_id: Some(2),
        };
        match architecture {
            Architecture::Llama | Architecture::Granite => llama,
            Architecture::Mistral => Self {
                num_key_value_heads: Some(8),
                max_position_embeddings: 131_072,
                ..llama
            },
            Architecture::Ministral3 => Self {
                head_dim: Some(128),
                num_key_value_heads: Some(8),
                max_position_embeddings: 262_144,
                rms_norm_eps: 1e-5,
                ..llama
            },
            Architecture::Qwen2 | Architecture::Qwen3 => Self {
                head_dim: (architecture == Architecture::Qwen3).then_some(128),
                num_key_value_heads: Some(32),
                max_position_embeddings: 32_768,
                bos_token_id: None,
                eos_token_id: None,
                ..llama
            },
            Architecture::SmolLm3 => Self {
                num_key_value_heads: Some(4),
                max_position_embeddings: 32_768,
                rope_theta: 2_000_000.0,
                tie_word_embeddings: true,
                bos_token_id: Some(128_000),
                eos_token_id: Some(128_001),
                ..llama
            },
            Architecture::Phi3 => Self {
                max_position_embeddings: 4096,
                rms_norm_eps: 1e-5,
                eos_token_id: Some(32_000),
                ..llama
            },
        }
    }
}

/// The text part of a model for text and images; `None` if the config is that of a text model.
pub(super) fn text_config<'a>(fields: &Fields<'a>) -> Result<Option<Fields<'a>>, ModelError> {
    if class(fields) != Some(WITH_IMAGES) && fields.text("model_type")? != Some("mistral3") {
        return Ok(None);
    }
    match fields.object("text_config") {
        Some(text) => Ok(Some(Fields(text, "`text_config` in config.json"))),
        None => refuse(format!(
            "config.json of {WITH_IMAGES} has no object `text_config`"
        )),
    }
}

fn class<'a>(fields: &Fields<'a>) -> Option<&'a str> {
    fields.0.get("architectures")?.as_array()?.first()?.as_str()
}

pub(super) fn architecture(fields: &Fields) -> Result<Architecture, ModelError> {
    let model_type = fields.text("model_type")?;
    let found = match (class(fields), model_type) {
        (Some(class), _) => Architecture::ALL.into_iter().find(|it| it.class() == class),
        (None, Some(name)) => Architecture::ALL
            .into_iter()
            .find(|it| it.model_type() == name),
        (None, None) => {
            return refuse(
                "config.json has neither `architectures` nor `model_type`: expected \
                 the config of a model"
                    .to_owned(),
            );
        }
    };
    match found {
        Some(architecture) => Ok(architecture),
        None => {
            let name = class(fields).or(model_type).unwrap_or_default();
            let served = Architecture::ALL.map(Architecture::class).join(", ");
            unsupported(format!(
                "architecture `{name}`; Farthing serves {served} and {WITH_IMAGES}, choose a model \
                 of one of these"
            ))
        }
    }
}
