//! Prompts of random words with a given length in tokens.

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::trace::BLOCK_TOKENS;

/// A server's number of prompt tokens as a linear function of the number of words.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct PromptFit {
    /// Tokens of the chat template.
    pub overhead_tokens: f64,
    /// Of each word.
    pub tokens_per_word: f64,
}

impl Default for PromptFit {
    /// Most tokenizers make one token of each word.
    fn default() -> Self {
        Self {
            overhead_tokens: 0.0,
            tokens_per_word: 1.0,
        }
    }
}

impl PromptFit {
    /// The line through two prompts with known token counts. Fewer than half a token per word is
    /// rejected as implausible.
    pub(crate) fn through(short: (usize, u64), long: (usize, u64)) -> Option<Self> {
        let words = long.0.checked_sub(short.0).filter(|it| *it > 0)?;
        let tokens = long.1.checked_sub(short.1)?;
        let tokens_per_word = tokens as f64 / words as f64;
        (tokens_per_word >= 0.5).then(|| Self {
            overhead_tokens: (short.1 as f64 - tokens_per_word * short.0 as f64).max(0.0),
            tokens_per_word,
        })
    }

    /// Words for a prompt of `tokens` tokens; at least one.
    pub(crate) fn words(&self, tokens: u64) -> usize {
        let words = (tokens as f64 - self.overhead_tokens) / self.tokens_per_word;
        words.round().max(1.0) as usize
    }

    /// Tokens of a prompt of `words` words.
    pub(crate) fn tokens(&self, words: usize) -> u64 {
        (self.overhead_tokens + self.tokens_per_word * words as f64).round() as u64
    }
}

/// `count` random words.
pub(crate) fn random_words(random: &mut StdRng, count: usize) -> String {
    let mut text = String::with_capacity(count * 6);
    for place in 0..count {
        if place > 0 {
            text.push(' ');
        }
        text.push_str(WORDS[random.random_range(0..WORDS.len())]);
    }
    text
}

/// `count` words that start with the text of these blocks, each [`BLOCK_TOKENS`] long. Equal blocks
/// give equal words.
pub(crate) fn block_words(seed: u64, blocks: &[u64], fit: &PromptFit, count: usize) -> String {
    let block_length = (BLOCK_TOKENS as f64 / fit.tokens_per_word).round().max(1.0) as usize;
    let mut texts = Vec::with_capacity(blocks.len());
    let mut left = count;
    for (place, block) in blocks.iter().enumerate() {
        let is_last = place + 1 == blocks.len();
        let length = if is_last {
            left
        } else {
            left.min(block_length)
        };
        if length == 0 {
            break;
        }
        let mut random = StdRng::seed_from_u64(seed ^ block.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        texts.push(random_words(&mut random, length));
        left -= length;
    }
    texts.join(" ")
}

/// Short and common words, which are one token each for most tokenizers together with the space
/// before them.
const WORDS: [&str; 160] = [
    "the",
    "and",
    "that",
    "with",
    "this",
    "from",
    "have",
    "they",
    "which",
    "their",
    "there",
    "about",
    "would",
    "other",
    "were",
    "been",
    "more",
    "when",
    "will",
    "some",
    "time",
    "could",
    "into",
    "than",
    "them",
    "only",
    "first",
    "over",
    "also",
    "after",
    "most",
    "made",
    "such",
    "where",
    "many",
    "before",
    "must",
    "through",
    "years",
    "should",
    "people",
    "work",
    "state",
    "world",
    "three",
    "still",
    "even",
    "back",
    "here",
    "place",
    "good",
    "being",
    "long",
    "own",
    "under",
    "last",
    "right",
    "life",
    "great",
    "old",
    "year",
    "off",
    "come",
    "since",
    "against",
    "came",
    "house",
    "part",
    "number",
    "used",
    "himself",
    "few",
    "without",
    "again",
    "during",
    "water",
    "however",
    "home",
    "small",
    "found",
    "think",
    "went",
    "say",
    "general",
    "once",
    "high",
    "upon",
    "school",
    "every",
    "does",
    "got",
    "united",
    "left",
    "course",
    "war",
    "until",
    "always",
    "away",
    "something",
    "fact",
    "less",
    "public",
    "put",
    "head",
    "almost",
    "hand",
    "enough",
    "far",
    "took",
    "system",
    "better",
    "set",
    "told",
    "nothing",
    "night",
    "end",
    "why",
    "called",
    "find",
    "going",
    "look",
    "asked",
    "later",
    "knew",
    "point",
    "next",
    "program",
    "city",
    "business",
    "give",
    "group",
    "toward",
    "young",
    "days",
    "let",
    "room",
    "side",
    "social",
    "given",
    "present",
    "several",
    "order",
    "national",
    "possible",
    "rather",
    "second",
    "face",
    "per",
    "among",
    "form",
    "important",
    "often",
    "things",
    "looked",
    "early",
    "white",
    "case",
    "large",
    "four",
    "big",
];

#[cfg(test)]
mod tests;
