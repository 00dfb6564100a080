//! What can go wrong between text and token ids.

use std::path::PathBuf;

/// An error of the text edge. [`TextError::is_callers_fault`] tells a bad request from a bad model.
#[derive(Debug, thiserror::Error)]
pub enum TextError {
    /// A file of the model could not be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file of the model is not what its name promises.
    #[error("{}: {message}", path.display())]
    BadFile {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        message: String,
    },
    /// The tokenizer in a GGUF's metadata cannot be built.
    #[error("the GGUF's tokenizer: {0}")]
    BadGguf(String),
    /// The `tokenizers` library failed on a text.
    #[error("cannot tokenize this text: {0}")]
    Encode(String),
    /// The chat template is not valid Jinja.
    #[error("the chat template cannot be compiled: {0}")]
    BadTemplate(String),
    /// The template called `raise_exception`; the message is the template's own.
    #[error("{0}")]
    Rejected(String),
    /// The template failed on these messages, or did not come to an end.
    #[error("the chat template failed on these messages: {0}")]
    Render(String),
    /// A chat was asked of a model without a chat template.
    #[error(
        "this model has no chat template: ask /v1/completions instead, or give the server one \
         (chat_template.jinja beside the weights, or chat_template in the model's manifest)"
    )]
    NoChatTemplate,
}

impl TextError {
    /// Whether another request could have gone well: an HTTP 400 rather than a 500.
    pub fn is_callers_fault(&self) -> bool {
        matches!(
            self,
            Self::Encode(_) | Self::Rejected(_) | Self::Render(_) | Self::NoChatTemplate
        )
    }
}
