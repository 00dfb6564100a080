//! The tokenizer and chat template of a model.

use std::path::Path;
use std::sync::Arc;

use anyhow::Context;
use farthing_engine::{ChatTemplate, TemplateSource, Tokenizer};
use farthing_model::{Checkpoint, read_regular_file};

use crate::models::{ModelFiles, ResolvedModel};
use crate::startup::dummy_tokenizer;

/// How a model encodes text and chats.
pub(crate) struct Text {
    pub tokenizer: Arc<Tokenizer>,
    pub chat_template: Option<Arc<ChatTemplate>>,
    /// The source of the chat template.
    pub template_text: Option<String>,
    /// Where the tokenizer is from.
    pub tokenizer_origin: String,
    /// Where the chat template is from.
    pub template_origin: String,
}

/// Limit on a template's file, which is larger than any template that is compiled.
const MAX_TEMPLATE_BYTES: u64 = 1 << 20;

impl Text {
    /// Reads them from the model's directory or GGUF file. A template in the file `chosen` comes first,
    /// then one from the manifest.
    ///
    /// # Errors
    /// A file cannot be read, or its content is invalid.
    pub(crate) fn load(
        model: &ResolvedModel,
        checkpoint: &Checkpoint,
        chosen: Option<&Path>,
    ) -> anyhow::Result<Self> {
        const GGUF: &str = "the GGUF's metadata";
        let named = |text: String, origin: &str| (text, origin.to_owned());
        let (tokenizer, tokenizer_origin, own) = match (&model.files, checkpoint.gguf_tokenizer()) {
            (_, Some(gguf)) => {
                let template = gguf.chat_template.clone();
                let template = template.map(|text| named(text, GGUF));
                (Tokenizer::from_gguf(gguf)?, GGUF.to_owned(), template)
            }
            (ModelFiles::Directory(path), None) => {
                let template = ChatTemplate::source_in(path)?;
                let of_file = |it: TemplateSource| (it.text, it.path.display().to_string());
                let origin = path.join("tokenizer.json").display().to_string();
                (Tokenizer::from_dir(path)?, origin, template.map(of_file))
            }
            (ModelFiles::Gguf(_) | ModelFiles::ConfigOnly(_), None) => {
                let (tokenizer, template) = dummy_tokenizer::make(checkpoint.config())?;
                let template = template.map(|text| named(text, "none: dummy text"));
                (tokenizer, "none: dummy text".to_owned(), template)
            }
        };
        let of_manifest = model.chat_template.clone();
        let of_manifest = of_manifest.map(|text| named(text, "the model's manifest"));
        let source = match chosen {
            Some(path) => Some((read(path)?, path.display().to_string())),
            None => of_manifest.or(own),
        };
        let compiled = source.map(|(text, origin)| {
            let template = ChatTemplate::new(&text, &tokenizer);
            let template = template.with_context(|| format!("chat template of {origin}"))?;
            anyhow::Ok((Arc::new(template), text, origin))
        });
        let (chat_template, template_text, template_origin) = match compiled.transpose()? {
            Some((template, text, origin)) => (Some(template), Some(text), origin),
            None => (None, None, "none: only completions".to_owned()),
        };
        Ok(Self {
            tokenizer: Arc::new(tokenizer),
            chat_template,
            template_text,
            tokenizer_origin,
            template_origin,
        })
    }
}

fn read(path: &Path) -> anyhow::Result<String> {
    let bytes = read_regular_file(path, MAX_TEMPLATE_BYTES);
    let bytes = bytes.with_context(|| format!("cannot read {}", path.display()))?;
    String::from_utf8(bytes).with_context(|| format!("{} is not UTF-8", path.display()))
}
