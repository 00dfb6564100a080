//! Errors of tokenizers and chat templates.

use std::path::PathBuf;

/// An error of a tokenizer or a chat template. [`TextError::is_callers_fault`] separates bad
/// requests from bad models.
#[derive(Debug, thiserror::Error)]
pub enum TextError {
    /// A file of the model could not be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The path of the file.
        path: PathBuf,
        /// The I/O error.
        source: std::io::Error,
    },
    /// A file of the model has invalid content.
    #[error("{}: {message}", path.display())]
    BadFile {
        /// The path of the file.
        path: PathBuf,
        /// What is wrong with it.
        message: String,
    },
    /// The tokenizer in the GGUF's metadata is invalid.
    #[error("the GGUF's tokenizer: {0}")]
    BadGguf(String),
    /// The `tokenizers` library rejected a text.
    #[error("cannot tokenize this text: {0}")]
    Encode(String),
    /// The chat template is not valid Jinja.
    #[error("the chat template cannot be compiled: {0}")]
    BadTemplate(String),
    /// The template called `raise_exception` with this message.
    #[error("{0}")]
    Rejected(String),
    /// The template failed on these messages, or exceeded its limits.
    #[error("the chat template failed on these messages: {0}")]
    Render(String),
    /// The model has no chat template.
    #[error(
        "this model has no chat template: ask /v1/completions instead, or give the server one \
         (chat_template.jinja beside the weights, or chat_template in the model's manifest)"
    )]
    NoChatTemplate,
}

impl TextError {
    /// Whether the request is at fault (HTTP 400) and not the server (HTTP 500).
    pub fn is_callers_fault(&self) -> bool {
        matches!(
            self,
            Self::Encode(_) | Self::Rejected(_) | Self::Render(_) | Self::NoChatTemplate
        )
    }
}
