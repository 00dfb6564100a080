//! The tokenizer and chat template of a model.

use std::sync::Arc;

use farthing_engine::{ChatTemplate, TextError, Tokenizer};
use farthing_model::Checkpoint;

use crate::models::{ModelFiles, ResolvedModel};
use crate::startup::dummy_tokenizer;

/// How a model encodes text and chats.
pub(crate) struct Text {
    pub tokenizer: Arc<Tokenizer>,
    pub chat_template: Option<Arc<ChatTemplate>>,
}

impl Text {
    /// Reads them from the model's directory or GGUF file. A template from the manifest or the user
    /// comes first.
    pub(crate) fn load(model: &ResolvedModel, checkpoint: &Checkpoint) -> Result<Self, TextError> {
        let (tokenizer, own_template) = match (&model.files, checkpoint.gguf_tokenizer()) {
            (_, Some(gguf)) => (Tokenizer::from_gguf(gguf)?, gguf.chat_template.clone()),
            (ModelFiles::Directory(path), None) => {
                (Tokenizer::from_dir(path)?, ChatTemplate::source_in(path)?)
            }
            (ModelFiles::Gguf(_) | ModelFiles::ConfigOnly(_), None) => {
                dummy_tokenizer::make(checkpoint.config())?
            }
        };
        let source = model.chat_template.clone().or(own_template);
        let chat_template = source.map(|source| ChatTemplate::new(&source, &tokenizer));
        let chat_template = chat_template.transpose()?.map(Arc::new);
        Ok(Self {
            tokenizer: Arc::new(tokenizer),
            chat_template,
        })
    }
}
