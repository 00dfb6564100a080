//! Converts text to token ids and back.

mod control_tokens;
mod directory;
mod gguf;
mod growth;
mod message_text;
mod reach;
mod tekken;
mod token_bytes;
mod words;

use std::borrow::Cow;
use std::path::Path;

use farthing_model::GgufTokenizer;

use crate::{RenderedPrompt, TextError};

pub(crate) use control_tokens::ControlTokens;
use reach::Reach;
use token_bytes::TokenBytes;
pub use token_bytes::byte_level_alphabet;

/// The model's tokenizer. It is immutable and can be shared in an `Arc`.
#[derive(Debug)]
pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
    token_bytes: TokenBytes,
    /// Decoding removes one space at the start, which SentencePiece had added.
    strips_leading_space: bool,
    /// `inner` would take a space at the start of the text for the one that SentencePiece adds.
    /// SentencePiece itself adds another one.
    doubles_leading_space: bool,
    /// Special tokens added before a text on request.
    prefix: Vec<u32>,
    suffix: Vec<u32>,
    bos: Option<u32>,
    eos: Option<u32>,
    /// Names of tokens for chat templates, such as `bos_token`.
    named: Vec<(&'static str, String)>,
    control: ControlTokens,
    /// What one token can stand for, if that is limited.
    reach: Option<Reach>,
}

impl Tokenizer {
    /// Reads `tokenizer.json` of a Hugging Face model directory, and the names of the special
    /// tokens in `tokenizer_config.json` or `special_tokens_map.json`; or Mistral's `tekken.json`, if
    /// there is no `tokenizer.json`.
    ///
    /// # Errors
    /// A file is missing or invalid, or the decoder is neither byte-level nor SentencePiece.
    pub fn from_dir(directory: &Path) -> Result<Self, TextError> {
        directory::load(directory)
    }

    /// Builds the tokenizer described by a GGUF's metadata.
    ///
    /// # Errors
    /// `tokenizer.ggml.model` or `tokenizer.ggml.pre` is unknown, or the tables do not fit
    /// together.
    pub fn from_gguf(gguf: &GgufTokenizer) -> Result<Self, TextError> {
        gguf::build(gguf)
    }

    /// The token ids of a text. Special tokens that appear in the text become their ids.
    /// `add_special_tokens` adds those that the model expects around any text, usually BOS.
    pub fn encode(&self, text: &str, add_special_tokens: bool) -> Result<Vec<u32>, TextError> {
        let text = self.with_leading_space(text);
        let encoding = self
            .inner
            .encode_fast(text.as_ref(), false)
            .map_err(|error| TextError::Encode(error.to_string()))?;
        if !add_special_tokens {
            return Ok(encoding.get_ids().to_vec());
        }
        Ok([&self.prefix, encoding.get_ids(), &self.suffix].concat())
    }

    /// A number of tokens that the text has at least, found without tokenizing it. It is 0 if the
    /// tokenizer may drop any part of a text.
    pub fn least_tokens(&self, text: &str) -> usize {
        let reach = self.reach.as_ref();
        reach.map_or(0, |reach| reach.least_tokens(text))
    }

    /// The token ids of a rendered chat prompt. The template has written all special tokens, so
    /// none is added, and those that messages spell are tokenized as any text.
    pub fn encode_rendered(&self, prompt: &RenderedPrompt) -> Result<Vec<u32>, TextError> {
        if !prompt.marks().is_empty() {
            let text = self.with_leading_space(prompt.text());
            let shift = text.len() - prompt.text().len();
            let marks: Vec<_> = prompt.marks().iter().map(|mark| mark + shift).collect();
            let ids = message_text::encode(&self.inner, &self.control, &text, &marks);
            if let Some(ids) = ids.map_err(|error| TextError::Encode(error.to_string()))? {
                return Ok(ids);
            }
        }
        self.encode(prompt.text(), false)
    }

    /// The text with the space that SentencePiece adds to one that has a space already.
    fn with_leading_space<'t>(&self, text: &'t str) -> Cow<'t, str> {
        if self.doubles_leading_space && text.starts_with([' ', '\u{2581}']) {
            Cow::Owned(format!(" {text}"))
        } else {
            Cow::Borrowed(text)
        }
    }

    pub(crate) fn control_tokens(&self) -> &ControlTokens {
        &self.control
    }

    /// The text of the tokens. Invalid UTF-8 becomes U+FFFD.
    pub fn decode(&self, ids: &[u32], skip_special_tokens: bool) -> String {
        let mut bytes = Vec::new();
        for &id in ids {
            if !(skip_special_tokens && self.is_special(id)) {
                bytes.extend_from_slice(self.token_bytes(id));
            }
        }
        let bytes = match bytes.strip_prefix(b" ") {
            Some(rest) if self.strips_leading_space => rest,
            _ => &bytes,
        };
        String::from_utf8_lossy(bytes).into_owned()
    }

    /// The bytes of a token, which may be a part of a character. Empty for an id outside the
    /// vocabulary. The bytes of a special token are its name.
    pub fn token_bytes(&self, id: u32) -> &[u8] {
        self.token_bytes.get(id)
    }

    /// Whether decoding leaves the token out.
    pub fn is_special(&self, id: u32) -> bool {
        self.token_bytes.is_special(id)
    }

    /// The ids of all special tokens, in ascending order.
    pub fn special_ids(&self) -> Vec<u32> {
        (0..self.token_bytes.len() as u32)
            .filter(|&id| self.is_special(id))
            .collect()
    }

    /// The id of a token by its name, such as `<|im_end|>`.
    pub fn token_id(&self, token: &str) -> Option<u32> {
        self.inner.token_to_id(token)
    }

    /// The largest id plus one. The model's embedding may have more rows.
    pub fn vocab_size(&self) -> usize {
        self.token_bytes.len()
    }

    /// The beginning-of-sequence token.
    pub fn bos_id(&self) -> Option<u32> {
        self.bos
    }

    /// The end-of-sequence token. The model's generation config may list more.
    pub fn eos_id(&self) -> Option<u32> {
        self.eos
    }

    /// The name of the beginning-of-sequence token, as used in chat templates.
    pub fn bos_token(&self) -> Option<String> {
        self.inner.id_to_token(self.bos?)
    }

    /// The name of the end-of-sequence token, as used in chat templates.
    pub fn eos_token(&self) -> Option<String> {
        self.inner.id_to_token(self.eos?)
    }

    /// What a chat template gets under `bos_token` and the like.
    pub(crate) fn named_tokens(&self) -> Vec<(&'static str, String)> {
        self.named.clone()
    }

    /// Whether decoding removes the space that SentencePiece added.
    pub(crate) fn strips_leading_space(&self) -> bool {
        self.strips_leading_space
    }
}
