//! The models whose steps are timed.

use std::fmt;
use std::str::FromStr;

use serde::Serialize;
use serde_json::json;

use farthing_model::{DeviceKind, ModelConfig, ModelError};

/// The sizes of a model. Its weights are random.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(into = "&str")]
pub enum Shape {
    /// Two thin layers, to try the selftest on an emulated device. The times are not meaningful.
    Tiny,
    /// Four layers of SmolLM2-135M.
    Small,
    /// Mistral-7B-v0.3.
    Mistral7b,
    /// Llama-3.1-8B.
    Llama8b,
}

/// The sizes of the steps.
pub(crate) struct Sizes {
    /// Rows of decode steps.
    pub rows: &'static [usize],
    /// Tokens in the cache of each row.
    pub contexts: &'static [usize],
    /// Tokens of prompts.
    pub prompts: &'static [usize],
    /// Numbers of adapters in a step of `adapter_rows` rows.
    pub adapters: &'static [usize],
    pub adapter_rows: usize,
    /// Number of runs. The median counts.
    pub runs: usize,
}

impl Shape {
    /// The default shape for a device.
    pub fn of(device: DeviceKind) -> Self {
        match device {
            DeviceKind::Cpu => Self::Small,
            DeviceKind::Cuda(_) => Self::Mistral7b,
        }
    }

    pub(crate) fn sizes(self) -> Sizes {
        match self {
            Self::Tiny => Sizes {
                rows: &[1, 3],
                contexts: &[40],
                prompts: &[20],
                adapters: &[1, 2],
                adapter_rows: 3,
                runs: 3,
            },
            Self::Small => Sizes {
                rows: &[1, 8],
                contexts: &[64, 256],
                prompts: &[128, 512],
                adapters: &[1, 4, 8],
                adapter_rows: 8,
                runs: 15,
            },
            Self::Mistral7b | Self::Llama8b => Sizes {
                rows: &[1, 8, 64, 256],
                contexts: &[1024, 2048],
                prompts: &[512, 2048, 8192],
                adapters: &[1, 8, 32],
                adapter_rows: 64,
                runs: 15,
            },
        }
    }

    pub(crate) fn config(self) -> Result<ModelConfig, ModelError> {
        let shape = match self {
            Self::Tiny => json!({
                "architectures": ["LlamaForCausalLM"], "model_type": "llama",
                "hidden_size": 128, "intermediate_size": 256, "num_hidden_layers": 2,
                "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 64,
                "vocab_size": 1024, "max_position_embeddings": 2048, "rope_theta": 10_000.0,
                "rms_norm_eps": 1e-5, "hidden_act": "silu", "tie_word_embeddings": true,
                "torch_dtype": "bfloat16",
            }),
            Self::Small => json!({
                "architectures": ["LlamaForCausalLM"], "model_type": "llama",
                "hidden_size": 576, "intermediate_size": 1536, "num_hidden_layers": 4,
                "num_attention_heads": 9, "num_key_value_heads": 3, "vocab_size": 49152,
                "max_position_embeddings": 2048, "rope_theta": 10_000.0, "rms_norm_eps": 1e-5,
                "hidden_act": "silu", "tie_word_embeddings": true, "torch_dtype": "bfloat16",
            }),
            Self::Mistral7b => json!({
                "architectures": ["MistralForCausalLM"], "model_type": "mistral",
                "hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32,
                "num_attention_heads": 32, "num_key_value_heads": 8, "vocab_size": 32768,
                "max_position_embeddings": 32768, "rope_theta": 1_000_000.0, "rms_norm_eps": 1e-5,
                "hidden_act": "silu", "tie_word_embeddings": false, "sliding_window": null,
                "torch_dtype": "bfloat16",
            }),
            Self::Llama8b => json!({
                "architectures": ["LlamaForCausalLM"], "model_type": "llama",
                "hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32,
                "num_attention_heads": 32, "num_key_value_heads": 8, "vocab_size": 128_256,
                "max_position_embeddings": 131_072, "rope_theta": 500_000.0, "rms_norm_eps": 1e-5,
                "rope_scaling": {
                    "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0,
                    "high_freq_factor": 4.0, "original_max_position_embeddings": 8192,
                },
                "hidden_act": "silu", "tie_word_embeddings": false, "torch_dtype": "bfloat16",
            }),
        };
        ModelConfig::from_hf_json(&shape)
    }
}

impl From<Shape> for &'static str {
    fn from(shape: Shape) -> Self {
        match shape {
            Shape::Tiny => "tiny",
            Shape::Small => "small",
            Shape::Mistral7b => "mistral-7b",
            Shape::Llama8b => "llama-3.1-8b",
        }
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str((*self).into())
    }
}

impl FromStr for Shape {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        [Self::Tiny, Self::Small, Self::Mistral7b, Self::Llama8b]
            .into_iter()
            .find(|shape| <&str>::from(*shape) == text)
            .ok_or_else(|| "write tiny, small, mistral-7b or llama-3.1-8b".to_owned())
    }
}
