//! How many bytes of a text one token can stand for.
//!
//! This gives a lower bound on the tokens of a text without tokenizing it. The bound only holds if no
//! step of the tokenizer drops or fuses text: a normalizer could shrink it without limit, a
//! pre-tokenizer could remove what it splits at, `<unk>` could stand for any number of unknown
//! characters, and an added token could take all spaces beside it. A tokenizer with such a step, or
//! with one that is not listed here, has no bound.

use serde_json::Value;
use tokenizers::models::ModelWrapper;
use tokenizers::{NormalizedString, Normalizer, Tokenizer};

use super::token_bytes::{TokenBytes, byte_level_alphabet};

/// The limit of one token.
#[derive(Debug)]
pub(super) struct Reach {
    /// The largest number of bytes of a text that become one token, without those that are dropped.
    most_bytes: usize,
    /// Which bytes become tokens; the others are dropped, because the vocabulary lacks them.
    is_kept: [bool; 256],
}

impl Reach {
    /// A number of tokens that the text has at least.
    pub(super) fn least_tokens(&self, text: &str) -> usize {
        let bytes = text.bytes();
        let kept = bytes.filter(|&byte| self.is_kept[usize::from(byte)]);
        kept.count().div_ceil(self.most_bytes.max(1))
    }
}

/// The limit of one token; `None` if there is none.
pub(super) fn of(inner: &Tokenizer, token_bytes: &TokenBytes) -> Option<Reach> {
    let ModelWrapper::BPE(bpe) = inner.get_model() else {
        return None;
    };
    let is_plain = bpe.dropout.is_none_or(|dropout| dropout == 0.0)
        && bpe.continuing_subword_prefix.is_none()
        && bpe.end_of_word_suffix.is_none();
    let normalizer = serde_json::to_value(inner.get_normalizer()).ok()?;
    let pre_tokenizer = serde_json::to_value(inner.get_pre_tokenizer()).ok()?;
    if !(is_plain && keeps_text(&pre_tokenizer)) {
        return None;
    }
    let shrinks = shrinkage(&normalizer)?;
    let knows = |token: &str| inner.token_to_id(token).is_some();
    let mut is_kept = [true; 256];
    let longest = if is_byte_level(&pre_tokenizer) {
        // Each byte is spelled as one character. Many vocabularies lack some control characters.
        let all = byte_level_alphabet();
        is_kept = all.map(|character| knows(character.encode_utf8(&mut [0; 4])));
        let ids = 0..token_bytes.len() as u32;
        ids.map(|id| token_bytes.get(id).len()).max()?
    } else {
        // A character without a token becomes the tokens of its bytes. In a token `▁` stands for
        // itself or for a shorter space.
        let has_all_bytes = (0..=u8::MAX).all(|byte| knows(&format!("<0x{byte:02X}>")));
        if !(bpe.byte_fallback && has_all_bytes) {
            return None;
        }
        inner.get_vocab(true).keys().map(String::len).max()?
    };
    let mut longest = longest;
    for added in inner.get_added_tokens_decoder().values() {
        if added.lstrip || added.rstrip {
            return None;
        }
        let mut normalized = NormalizedString::from(added.content.as_str());
        if let Some(normalizer) = inner.get_normalizer() {
            normalizer.normalize(&mut normalized).ok()?;
        }
        longest = longest.max(added.content.len()).max(normalized.get().len());
    }
    Some(Reach {
        most_bytes: longest * shrinks,
        is_kept,
    })
}

/// How many bytes of a text at most become one byte of the normalized text; `None` if there is no
/// limit.
fn shrinkage(normalizer: &Value) -> Option<usize> {
    /// Three and a half, of the Greek letters with two accents, whose parts can be long forms.
    const OF_NFC: usize = 4;
    match kind(normalizer) {
        Some("Prepend") => Some(1),
        Some("NFC") => Some(OF_NFC),
        Some("Replace") => {
            let pattern = normalizer["pattern"]["String"].as_str()?;
            let content = normalizer["content"].as_str()?;
            (pattern.len() <= content.len()).then_some(1)
        }
        Some("Sequence") => {
            let steps = normalizer["normalizers"].as_array()?;
            steps
                .iter()
                .try_fold(1_usize, |all, step| all.checked_mul(shrinkage(step)?))
        }
        _ => normalizer.is_null().then_some(1),
    }
}

/// Whether the words together are the text, as it is or with each byte spelled as a character.
fn keeps_text(pre_tokenizer: &Value) -> bool {
    match kind(pre_tokenizer) {
        Some("ByteLevel" | "Digits") => true,
        Some("Metaspace") => pre_tokenizer["replacement"] == "\u{2581}",
        Some("Split" | "Punctuation") => {
            let behavior = pre_tokenizer["behavior"].as_str();
            behavior.is_some_and(|behavior| behavior != "Removed")
        }
        Some("Sequence") => all(&pre_tokenizer["pretokenizers"], keeps_text),
        _ => pre_tokenizer.is_null(),
    }
}

fn is_byte_level(pre_tokenizer: &Value) -> bool {
    let parts = pre_tokenizer["pretokenizers"].as_array();
    kind(pre_tokenizer) == Some("ByteLevel")
        || parts.is_some_and(|parts| parts.iter().any(is_byte_level))
}

fn all(parts: &Value, is_fine: fn(&Value) -> bool) -> bool {
    parts
        .as_array()
        .is_some_and(|parts| parts.iter().all(is_fine))
}

fn kind(component: &Value) -> Option<&str> {
    component["type"].as_str()
}
