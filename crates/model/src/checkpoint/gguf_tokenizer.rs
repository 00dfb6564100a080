//! The tokenizer and chat template in a GGUF file's metadata.

use crate::ModelError;
use crate::gguf_metadata::GgufMetadata;

/// The `tokenizer.*` keys of a GGUF file. An absent key is an empty list or `None`, unless llama.cpp
/// has a rule for it.
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
    /// `tokenizer.ggml.bos_token_id`; SentencePiece's 1 where it is absent.
    pub bos_token_id: Option<u32>,
    /// `tokenizer.ggml.eos_token_id`; SentencePiece's 2 where it is absent.
    pub eos_token_id: Option<u32>,
    /// `tokenizer.ggml.unknown_token_id`; SentencePiece's 0 where it is absent.
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
        let tokenizer = Self {
            model: owned(metadata.text("tokenizer.ggml.model")?).unwrap_or_default(),
            pre: owned(metadata.text("tokenizer.ggml.pre")?),
            tokens: metadata.texts("tokenizer.ggml.tokens")?,
            merges: metadata.texts("tokenizer.ggml.merges")?,
            scores: metadata.numbers("tokenizer.ggml.scores")?,
            token_types: metadata.integers("tokenizer.ggml.token_type")?,
            bos_token_id: metadata.special_token("bos")?,
            eos_token_id: metadata.special_token("eos")?,
            unknown_token_id: metadata.special_token("unknown")?,
            add_bos: metadata.flag("tokenizer.ggml.add_bos_token")?,
            add_eos: metadata.flag("tokenizer.ggml.add_eos_token")?,
            add_space_prefix: metadata.flag("tokenizer.ggml.add_space_prefix")?,
            chat_template: owned(metadata.text("tokenizer.chat_template")?),
        };
        tokenizer.refuse_gaps()?;
        Ok(tokenizer)
    }

    /// Refuses a file without a key whose value cannot be guessed. A file without a tokenizer has none
    /// of them.
    fn refuse_gaps(&self) -> Result<(), ModelError> {
        let refuse = |key: &str, why: &str| {
            Err(ModelError::Config(format!(
                "the GGUF's metadata has no `{key}`, so {why}: convert the model again with a \
                 newer llama.cpp"
            )))
        };
        if self.model.is_empty() {
            return Ok(());
        }
        if self.token_types.is_empty() {
            let key = "tokenizer.ggml.token_type";
            return refuse(key, "its control tokens cannot be told from text");
        }
        if self.model == "gpt2" && self.pre.is_none() {
            let key = "tokenizer.ggml.pre";
            return refuse(
                key,
                "nothing says how its tokenizer splits a text into words",
            );
        }
        Ok(())
    }
}
