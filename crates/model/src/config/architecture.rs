//! The model families.

use std::fmt;

/// A model family. The same code computes all of them; they differ in defaults, and in what
/// [`ModelConfig`](crate::ModelConfig) says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Architecture {
    /// Llama 2, 3, 3.1, 3.2 and models with the same architecture (SmolLM2, TinyLlama, …).
    Llama,
    /// Mistral v0.1 to v0.3, Nemo and Small. Small 3.1 and later are served as text models.
    Mistral,
    /// Ministral 3: yarn, and queries that are scaled by position.
    Ministral3,
    /// Qwen2 and Qwen2.5: biases of queries, keys and values.
    Qwen2,
    /// Qwen3, dense: RMSNorm on each head's query and key.
    Qwen3,
    /// SmolLM3: some layers without rotary position embeddings.
    SmolLm3,
    /// Granite 3, dense: constant factors of embeddings, residuals, attention and logits.
    Granite,
    /// Phi-3, Phi-3.5 and Phi-4, dense: fused projections, partial rotation, longrope.
    Phi3,
}

impl Architecture {
    /// Every family.
    pub const ALL: [Self; 8] = [
        Self::Llama,
        Self::Mistral,
        Self::Ministral3,
        Self::Qwen2,
        Self::Qwen3,
        Self::SmolLm3,
        Self::Granite,
        Self::Phi3,
    ];

    /// The name of transformers' class, which is in `architectures` of a `config.json`.
    pub fn class(self) -> &'static str {
        match self {
            Self::Llama => "LlamaForCausalLM",
            Self::Mistral => "MistralForCausalLM",
            Self::Ministral3 => "Ministral3ForCausalLM",
            Self::Qwen2 => "Qwen2ForCausalLM",
            Self::Qwen3 => "Qwen3ForCausalLM",
            Self::SmolLm3 => "SmolLM3ForCausalLM",
            Self::Granite => "GraniteForCausalLM",
            Self::Phi3 => "Phi3ForCausalLM",
        }
    }

    /// The name in `model_type` of a `config.json`.
    pub fn model_type(self) -> &'static str {
        match self {
            Self::Llama => "llama",
            Self::Mistral => "mistral",
            Self::Ministral3 => "ministral3",
            Self::Qwen2 => "qwen2",
            Self::Qwen3 => "qwen3",
            Self::SmolLm3 => "smollm3",
            Self::Granite => "granite",
            Self::Phi3 => "phi3",
        }
    }
}

impl fmt::Display for Architecture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.model_type())
    }
}
