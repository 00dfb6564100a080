//! The tokenizer of a Hugging Face model directory.

use std::panic;
use std::path::Path;
use std::slice;

use farthing_model::read_regular_file;
use serde::Deserialize;
use tokenizers::decoders::DecoderWrapper;
use tokenizers::pre_tokenizers::metaspace::PrependScheme;

use super::token_bytes::{Alphabet, TokenBytes};
use super::{ControlTokens, Tokenizer, growth, reach, tekken};
use crate::TextError;

/// Limit on the size of each file. Tokenizers of 256,000 tokens have about 35 MB.
const MAX_BYTES: u64 = 256 << 20;

/// The tokenizers crate panics where a file is not JSON within a decoder, and nobody knows all such
/// places.
pub(super) fn load(directory: &Path) -> Result<Tokenizer, TextError> {
    panic::catch_unwind(|| read(directory)).unwrap_or_else(|_| {
        Err(TextError::BadFile {
            path: directory.join("tokenizer.json"),
            message: "it is damaged".to_owned(),
        })
    })
}

fn read(directory: &Path) -> Result<Tokenizer, TextError> {
    let path = directory.join("tokenizer.json");
    if !path.exists() {
        let tekken = directory.join("tekken.json");
        if tekken.exists() {
            return tekken::load(&tekken);
        }
        return Err(TextError::BadFile {
            path,
            message: "not found: convert the model's tokenizer with transformers \
                      (AutoTokenizer.from_pretrained(DIR).save_pretrained(DIR))"
                .to_owned(),
        });
    }
    let bad_file = |message| TextError::BadFile {
        path: path.clone(),
        message,
    };
    let json = read_regular_file(&path, MAX_BYTES).map_err(|error| bad_file(error.to_string()))?;
    let mut inner =
        tokenizers::Tokenizer::from_bytes(json).map_err(|error| bad_file(error.to_string()))?;
    growth::check(&inner).map_err(bad_file)?;
    // The server never truncates or pads prompts.
    inner
        .with_truncation(None)
        .map_err(|error| bad_file(error.to_string()))?;
    inner.with_padding(None);

    let decoding = Decoding::of(inner.get_decoder()).map_err(bad_file)?;
    let names = SpecialNames::read(directory)?;
    let id_of = |name: &Option<SpecialName>| inner.token_to_id(name.as_ref()?.content());
    let (bos, eos) = (id_of(&names.bos_token), id_of(&names.eos_token));
    let named = names.named();
    let (mut prefix, suffix) = added_around_a_text(&inner).map_err(bad_file)?;
    // The Llama tokenizers of transformers follow this flag and ignore tokenizer.json here.
    if names
        .tokenizer_class
        .as_deref()
        .is_some_and(|class| class.contains("Llama"))
    {
        match (names.add_bos_token, bos) {
            (Some(true), Some(bos)) if !prefix.contains(&bos) => prefix.insert(0, bos),
            (Some(false), Some(bos)) => prefix.retain(|&id| id != bos),
            _ => {}
        }
    }
    let token_bytes = token_bytes(&inner, &decoding.alphabet).map_err(bad_file)?;
    Ok(Tokenizer {
        control: ControlTokens::of(&inner),
        reach: reach::of(&inner, &token_bytes),
        token_bytes,
        strips_leading_space: decoding.strips_leading_space,
        doubles_leading_space: false,
        prefix,
        suffix,
        bos,
        eos,
        named,
        inner,
    })
}

/// The names of the special tokens. `tokenizer_config.json` has them and, in older models,
/// `special_tokens_map.json`.
#[derive(Default, Deserialize)]
struct SpecialNames {
    bos_token: Option<SpecialName>,
    eos_token: Option<SpecialName>,
    unk_token: Option<SpecialName>,
    sep_token: Option<SpecialName>,
    pad_token: Option<SpecialName>,
    cls_token: Option<SpecialName>,
    mask_token: Option<SpecialName>,
    add_bos_token: Option<bool>,
    tokenizer_class: Option<String>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum SpecialName {
    Plain(String),
    WithFlags { content: String },
}

impl SpecialName {
    fn content(&self) -> &str {
        match self {
            Self::Plain(content) | Self::WithFlags { content } => content,
        }
    }
}

impl SpecialNames {
    fn read(directory: &Path) -> Result<Self, TextError> {
        let config = Self::read_file(&directory.join("tokenizer_config.json"))?;
        let map = Self::read_file(&directory.join("special_tokens_map.json"))?;
        Ok(Self {
            bos_token: config.bos_token.or(map.bos_token),
            eos_token: config.eos_token.or(map.eos_token),
            unk_token: config.unk_token.or(map.unk_token),
            sep_token: config.sep_token.or(map.sep_token),
            pad_token: config.pad_token.or(map.pad_token),
            cls_token: config.cls_token.or(map.cls_token),
            mask_token: config.mask_token.or(map.mask_token),
            ..config
        })
    }

    /// What a chat template gets, as transformers' `special_tokens_map`.
    fn named(&self) -> Vec<(&'static str, String)> {
        let names = [
            ("bos_token", &self.bos_token),
            ("eos_token", &self.eos_token),
            ("unk_token", &self.unk_token),
            ("sep_token", &self.sep_token),
            ("pad_token", &self.pad_token),
            ("cls_token", &self.cls_token),
            ("mask_token", &self.mask_token),
        ];
        let content = |token: &Option<SpecialName>| Some(token.as_ref()?.content().to_owned());
        let named = names.into_iter();
        named
            .filter_map(|(name, token)| Some((name, content(token)?)))
            .collect()
    }

    fn read_file(path: &Path) -> Result<Self, TextError> {
        let json = match read_regular_file(path, MAX_BYTES) {
            Ok(json) => json,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Ok(Self::default());
            }
            Err(source) => {
                return Err(TextError::Read {
                    path: path.to_owned(),
                    source,
                });
            }
        };
        serde_json::from_slice(&json).map_err(|error| TextError::BadFile {
            path: path.to_owned(),
            message: error.to_string(),
        })
    }
}

/// The result of analysing the decoder.
struct Decoding {
    alphabet: Alphabet,
    strips_leading_space: bool,
}

impl Decoding {
    fn of(decoder: Option<&DecoderWrapper>) -> Result<Self, String> {
        let steps = match decoder {
            Some(DecoderWrapper::Sequence(sequence)) => sequence.get_decoders(),
            Some(step) => slice::from_ref(step),
            None => {
                return Err("it has no decoder, so tokens cannot be turned into text".to_owned());
            }
        };
        let mut decoding = Self {
            alphabet: Alphabet::SentencePiece,
            strips_leading_space: false,
        };
        for step in steps {
            match step {
                DecoderWrapper::ByteLevel(_) => decoding.alphabet = Alphabet::byte_level(),
                DecoderWrapper::Strip(strip) => {
                    decoding.strips_leading_space = strip.content == ' ' && strip.start > 0;
                }
                DecoderWrapper::Metaspace(metaspace) => {
                    decoding.strips_leading_space =
                        metaspace.get_prepend_scheme() != PrependScheme::Never;
                }
                DecoderWrapper::Replace(_)
                | DecoderWrapper::ByteFallback(_)
                | DecoderWrapper::Fuse(_) => {}
                DecoderWrapper::BPE(_) => return Err(unsupported_decoder("BPEDecoder")),
                DecoderWrapper::WordPiece(_) => return Err(unsupported_decoder("WordPiece")),
                DecoderWrapper::CTC(_) => return Err(unsupported_decoder("CTC")),
                DecoderWrapper::Sequence(_) => return Err(unsupported_decoder("nested Sequence")),
            }
        }
        Ok(decoding)
    }
}

fn unsupported_decoder(kind: &str) -> String {
    format!(
        "its decoder {kind} is not supported: only byte-level BPE and SentencePiece tokenizers are"
    )
}

/// The special tokens that the post-processor adds before and after any text.
fn added_around_a_text(inner: &tokenizers::Tokenizer) -> Result<(Vec<u32>, Vec<u32>), String> {
    let ids = |add_special_tokens| {
        inner
            .encode_fast("a", add_special_tokens)
            .map(|encoding| encoding.get_ids().to_vec())
            .map_err(|error| error.to_string())
    };
    let (bare, dressed) = (ids(false)?, ids(true)?);
    let start = dressed
        .windows(bare.len().max(1))
        .position(|window| window == bare)
        .ok_or("its post-processor changes the text's own tokens, which is not supported")?;
    Ok((
        dressed[..start].to_vec(),
        dressed[start + bare.len()..].to_vec(),
    ))
}

/// Limit on token ids: a table has a place for each id up to the largest.
const MAX_TOKENS: usize = 1 << 24;

fn token_bytes(inner: &tokenizers::Tokenizer, alphabet: &Alphabet) -> Result<TokenBytes, String> {
    let added = inner.get_added_tokens_decoder();
    let vocab = inner.get_vocab(true);
    let len = vocab.values().max().map_or(0, |&id| id as usize + 1);
    if len > MAX_TOKENS {
        let largest = len - 1;
        return Err(format!(
            "it has a token of id {largest}, more than {MAX_TOKENS}"
        ));
    }
    let mut tokens = vec![""; len];
    for (token, &id) in &vocab {
        tokens[id as usize] = token;
    }
    let mut table = TokenBytes::default();
    for (id, token) in tokens.into_iter().enumerate() {
        match added.get(&(id as u32)) {
            Some(added) => table.push_added(&added.content, added.special),
            None => table.push_spelled(token, alphabet),
        }
    }
    Ok(table)
}
