//! Tokenizes a prompt so that control tokens which messages spell stay text.
//!
//! The steps are those of the tokenizers crate: added tokens are cut out, and the pieces between them are
//! normalized, split into words and tokenized. Only that a match around a mark is no token here, so its
//! text belongs to the piece around it. What else is in the prompt gets the same ids as ever.

use tokenizers::normalizer::Range;
use tokenizers::{
    Model, NormalizedString, Normalizer, OffsetReferential, OffsetType, PreTokenizedString,
    PreTokenizer, Result, Token, Tokenizer,
};

use super::control_tokens::ControlTokens;

/// The ids of a text with marks, or `None` if no match lies around one.
pub(super) fn encode(
    inner: &Tokenizer,
    control: &ControlTokens,
    text: &str,
    marks: &[usize],
) -> Result<Option<Vec<u32>>> {
    let matched = inner
        .get_added_vocabulary()
        .extract_and_normalize(inner.get_normalizer(), text);
    let splits = matched.get_splits(OffsetReferential::Original, OffsetType::Byte);
    let matches = splits.into_iter().filter_map(|(_, offsets, tokens)| {
        let id = tokens.as_ref()?.first()?.id;
        Some(Match { id, offsets })
    });
    let (of_messages, kept): (Vec<_>, Vec<_>) =
        matches.partition(|found| found.is_around_any(text, marks));
    if of_messages.is_empty() {
        return Ok(None);
    }
    let ids = encode_pieces(inner, text, &kept, &[])?;
    // The model's own merges may lead to a control token. They cannot if no word reaches across a mark.
    let controls = |found: u32| control.contains(found);
    let expected = kept.iter().filter(|kept| controls(kept.id)).count();
    if ids.iter().filter(|&&id| controls(id)).count() == expected {
        return Ok(Some(ids));
    }
    encode_pieces(inner, text, &kept, marks).map(Some)
}

/// An added token in the text.
struct Match {
    id: u32,
    /// In bytes, with the spaces that the token takes.
    offsets: (usize, usize),
}

impl Match {
    fn is_around_any(&self, text: &str, marks: &[usize]) -> bool {
        let (start, end) = self.offsets;
        let is_one_character = text
            .get(start..end)
            .is_some_and(|matched| matched.chars().nth(1).is_none());
        // A mark at the start belongs to what is before, except that of a single character.
        let first = if is_one_character { start } else { start + 1 };
        let next = marks.partition_point(|&mark| mark < first);
        marks.get(next).is_some_and(|&mark| mark < end)
    }
}

/// Tokenizes what lies between the kept tokens, also cutting it at `cuts`.
fn encode_pieces(
    inner: &Tokenizer,
    text: &str,
    kept: &[Match],
    cuts: &[usize],
) -> Result<Vec<u32>> {
    let mut pieces = PreTokenizedString::from(text);
    pieces.split(|_, whole| Ok(split(&whole, kept, cuts)))?;
    if let Some(normalizer) = inner.get_normalizer() {
        pieces.normalize(|piece| normalizer.normalize(piece))?;
    }
    if let Some(pre_tokenizer) = inner.get_pre_tokenizer() {
        pre_tokenizer.pre_tokenize(&mut pieces)?;
    }
    let model = inner.get_model();
    pieces.tokenize(|word| model.tokenize(word.get()))?;
    let encoding = pieces.into_encoding(None, 0, OffsetType::None)?;
    Ok(encoding.get_ids().to_vec())
}

fn split(
    whole: &NormalizedString,
    kept: &[Match],
    cuts: &[usize],
) -> Vec<(NormalizedString, Option<Vec<Token>>)> {
    let slice = |start, end| whole.slice(Range::Original(start..end));
    let mut parts = Vec::new();
    let mut from = 0;
    let push_text = |parts: &mut Vec<_>, start: usize, end: usize| {
        let inside = cuts.iter().filter(|&&cut| start < cut && cut < end);
        let mut start = start;
        for end in inside.copied().chain([end]) {
            if start < end {
                parts.extend(slice(start, end).map(|text| (text, None)));
            }
            start = end;
        }
    };
    for Match { id, offsets } in kept {
        push_text(&mut parts, from, offsets.0);
        from = offsets.1;
        parts.extend(slice(offsets.0, offsets.1).map(|text| {
            let name = text.get().to_owned();
            let offsets = (0, name.len());
            (text, Some(vec![Token::new(*id, name, offsets)]))
        }));
    }
    push_text(&mut parts, from, whole.get_original().len());
    parts
}
