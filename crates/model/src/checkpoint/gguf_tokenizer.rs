//! The tokenizer and chat template in a GGUF file's metadata.

use crate::ModelError;
use crate::gguf_metadata::GgufMetadata;

/// The `tokenizer.*` keys of a GGUF file. An absent key is an empty list or `None`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct GgufTokenizer {
    /// `tokenizer.ggml.model`: `gpt2` (byte-level BPE) or `llama` (SentencePiece).
    pub model: String,
    /// `tokenizer.ggml.pre`: the name of the pre-tokenizer.
    pub pre: Option<String>,
    /// `tokenizer.ggml.tokens`: the vocabulary in the order of ids.
    pub tokens: Vec<String>,
    /// `tokenizer.ggml.merges`: pairs of tokens separated by a space, in order.
    pub merges: Vec<String>,
    /// `tokenizer.ggml.scores`: SentencePiece's score of each token.
    pub scores: Vec<f32>,
    /// `tokenizer.ggml.token_type`: llama.cpp's `llama_token_type` of each token.
    pub token_types: Vec<i32>,
    /// `tokenizer.ggml.bos_token_id`.
    pub bos_token_id: Option<u32>,
    /// `tokenizer.ggml.eos_token_id`.
    pub eos_token_id: Option<u32>,
    /// `tokenizer.ggml.unknown_token_id`.
    pub unknown_token_id: Option<u32>,
    /// `tokenizer.ggml.add_bos_token`.
    pub add_bos: Option<bool>,
    /// `tokenizer.ggml.add_eos_token`.
    pub add_eos: Option<bool>,
    /// `tokenizer.ggml.add_space_prefix`.
    pub add_space_prefix: Option<bool>,
    /// `tokenizer.chat_template`: Jinja source.
    pub chat_template: Option<String>,
}

impl GgufTokenizer {
    pub(super) fn from_metadata(metadata: &GgufMetadata) -> Result<Self, ModelError> {
        let owned = |text: Option<&str>| text.map(str::to_owned);
        Ok(Self {
            model: owned(metadata.text("tokenizer.ggml.model")?).unwrap_or_default(),
            pre: owned(metadata.text("tokenizer.ggml.pre")?),
            tokens: metadata.texts("tokenizer.ggml.tokens")?,
            merges: metadata.texts("tokenizer.ggml.merges")?,
            scores: metadata.numbers("tokenizer.ggml.scores")?,
            token_types: metadata.integers("tokenizer.ggml.token_type")?,
            bos_token_id: metadata.token_id("tokenizer.ggml.bos_token_id")?,
            eos_token_id: metadata.token_id("tokenizer.ggml.eos_token_id")?,
            unknown_token_id: metadata.token_id("tokenizer.ggml.unknown_token_id")?,
            add_bos: metadata.flag("tokenizer.ggml.add_bos_token")?,
            add_eos: metadata.flag("tokenizer.ggml.add_eos_token")?,
            add_space_prefix: metadata.flag("tokenizer.ggml.add_space_prefix")?,
            chat_template: owned(metadata.text("tokenizer.chat_template")?),
        })
    }
}
