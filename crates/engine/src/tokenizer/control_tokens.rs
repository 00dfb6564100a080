//! The tokens that structure a chat, such as `<|im_end|>`, and where a text spells them.

use std::collections::HashMap;

use tokenizers::{AddedVocabulary, NormalizerWrapper, OffsetReferential, OffsetType, Tokenizer};

/// Bytes of a text that are searched at a time. The search takes thirty times as much memory.
const WINDOW_BYTES: usize = 64 << 10;

/// The control tokens of a tokenizer: its special tokens, and added tokens in brackets. Other added
/// tokens are words and spaces that a text may use.
#[derive(Clone, Debug)]
pub(crate) struct ControlTokens {
    names: HashMap<u32, String>,
    added: AddedVocabulary,
    normalizer: Option<NormalizerWrapper>,
    first_characters: Vec<char>,
    /// Bytes of the longest name.
    longest: usize,
}

/// A place inside of a control token that a text spells, or begins to spell at its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Mark {
    /// The position in bytes: after the first character of the token, or before it if it is the only one.
    pub(crate) at: usize,
    /// The token.
    pub(crate) id: u32,
}

impl ControlTokens {
    pub(super) fn of(inner: &Tokenizer) -> Self {
        let names: HashMap<u32, String> = inner
            .get_added_tokens_decoder()
            .iter()
            .filter(|(_, token)| token.special || is_in_brackets(&token.content))
            .map(|(&id, token)| (id, token.content.clone()))
            .collect();
        let first = |name: &String| name.chars().next();
        let mut first_characters: Vec<_> = names.values().filter_map(first).collect();
        first_characters.sort_unstable();
        first_characters.dedup();
        Self {
            longest: names.values().map(String::len).max().unwrap_or(0),
            first_characters,
            names,
            added: inner.get_added_vocabulary().clone(),
            normalizer: inner.get_normalizer().cloned(),
        }
    }

    pub(super) fn contains(&self, id: u32) -> bool {
        self.names.contains_key(&id)
    }

    /// The tokens whose name is in a text.
    pub(crate) fn named_in(&self, text: &str) -> Vec<u32> {
        let named = |(id, name): (&u32, &String)| text.contains(name.as_str()).then_some(*id);
        self.names.iter().filter_map(named).collect()
    }

    /// The control token that a text begins with: the longest, if one begins with another.
    pub(crate) fn at_start_of(&self, text: &str) -> Option<u32> {
        let names = self.names.iter();
        let found = names.filter(|(_, name)| !name.is_empty() && text.starts_with(name.as_str()));
        // The smallest id of those with one name, so that the result is always the same.
        let longest = found.max_by_key(|(id, name)| (name.len(), std::cmp::Reverse(**id)));
        longest.map(|(id, _)| *id)
    }

    /// Where a text spells control tokens, in ascending order. Its end may be the beginning of one that
    /// a template's next piece completes.
    pub(crate) fn marks(&self, text: &str) -> Vec<Mark> {
        // A normalizer can make a token of other characters.
        if self.normalizer.is_none() && !text.contains(self.first_characters.as_slice()) {
            return Vec::new();
        }
        let mut marks = self.marks_at_end(text);
        let mut start = 0;
        while start < text.len() {
            let next = char_boundary(text, start + WINDOW_BYTES);
            // A token may begin in one window and end in the next.
            let end = char_boundary(text, next + self.longest);
            let found = self.marks_of_matches(&text[start..end]);
            marks.extend(found.into_iter().map(|mark| Mark {
                at: mark.at + start,
                ..mark
            }));
            start = next;
        }
        marks.sort_unstable();
        marks.dedup();
        marks
    }

    fn marks_of_matches(&self, text: &str) -> Vec<Mark> {
        let matched = self
            .added
            .extract_and_normalize(self.normalizer.as_ref(), text);
        let splits = matched.get_splits(OffsetReferential::Original, OffsetType::Byte);
        let mut marks = Vec::new();
        for (_, (start, end), tokens) in splits {
            let Some(id) = tokens.as_ref().and_then(|tokens| Some(tokens.first()?.id)) else {
                continue;
            };
            let (Some(name), Some(matched)) = (self.names.get(&id), text.get(start..end)) else {
                continue;
            };
            // The match may have spaces around the name.
            let start = start + matched.find(name.as_str()).unwrap_or(0);
            let mut characters = text[start..end].chars();
            let first = characters.next().map_or(0, char::len_utf8);
            let at = if characters.next().is_some() {
                start + first
            } else {
                start
            };
            marks.push(Mark { at, id });
        }
        marks
    }

    fn marks_at_end(&self, text: &str) -> Vec<Mark> {
        let mut marks = Vec::new();
        let end = text.len().saturating_sub(self.longest);
        let begins_none = text
            .char_indices()
            .rev()
            .take_while(|&(at, _)| at >= end)
            .all(|(_, character)| !self.first_characters.contains(&character));
        if begins_none {
            return marks;
        }
        for (&id, name) in &self.names {
            let cuts = name.char_indices().skip(1).map(|(cut, _)| &name[..cut]);
            for beginning in cuts.filter(|beginning| text.ends_with(beginning)) {
                let first = beginning.chars().next().map_or(0, char::len_utf8);
                let at = text.len() - beginning.len() + first;
                marks.push(Mark { at, id });
            }
        }
        marks
    }
}

/// The first position of a character from `at` on, or the end.
fn char_boundary(text: &str, at: usize) -> usize {
    let boundary = (at..text.len()).find(|&at| text.is_char_boundary(at));
    boundary.unwrap_or(text.len())
}

fn is_in_brackets(name: &str) -> bool {
    name.len() > 2
        && [('<', '>'), ('[', ']')]
            .iter()
            .any(|&(open, close)| name.starts_with(open) && name.ends_with(close))
}
