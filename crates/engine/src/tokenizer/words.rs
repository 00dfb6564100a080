//! How the tokenizer that a GGUF's `tokenizer.ggml.pre` names splits a text into words.
//!
//! The expressions are those of the families' `tokenizer.json`. llama.cpp approximates some of them,
//! because its own engine has no classes such as `\p{Lu}`.

use tokenizers::SplitDelimiterBehavior;
use tokenizers::pre_tokenizers::PreTokenizerWrapper;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::digits::Digits;
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};

/// The regular expression of Llama 3's `tokenizer.json`, which is that of GPT-4.
const LLAMA_3_WORDS: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// The regular expressions by which llama.cpp splits text if `tokenizer.ggml.pre` is `default`, one after
/// the other.
const DEFAULT_WORDS: [&str; 4] = [
    r"[\p{P}\$\+<=>\^~\|]+",
    r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)",
    r"\p{N}+",
    r"[0-9][0-9][0-9]",
];

/// That of Qwen2: each digit is a word.
const QWEN_2_WORDS: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// That of GPT-4o, which Phi-4-mini has too: a change from small to capital letters ends a word.
const GPT_4O_WORDS: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// That of Mistral's tekken: like GPT-4o's without English endings, and each digit is a word.
pub(super) const TEKKEN_WORDS: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// What a pre-tokenizer's name says.
pub(super) struct Words {
    pub(super) pre_tokenizer: PreTokenizerWrapper,
    /// Whether a word that is a token is kept whole, whatever the merges say. llama.cpp also begins
    /// texts of these vocabularies with BOS, if the file does not say.
    pub(super) keeps_whole: bool,
    /// Whether characters are composed first (NFC).
    pub(super) composes: bool,
}

impl Words {
    /// The pre-tokenizer of a name in `tokenizer.ggml.pre`.
    ///
    /// # Errors
    /// The name is unknown.
    pub(super) fn named(pre: &str) -> Result<Self, String> {
        let gpt_2 = ByteLevel::new(false, true, true);
        let words = match pre {
            "gpt-2" => Self::plain(gpt_2),
            "default" => Self::split(&DEFAULT_WORDS)?,
            "smollm" | "refact" | "starcoder" => {
                let steps = vec![Digits::new(true).into(), gpt_2.into()];
                Self::plain(Sequence::new(steps))
            }
            "llama-bpe" | "llama3" | "llama-v3" => Self {
                keeps_whole: true,
                ..Self::split(&[LLAMA_3_WORDS])?
            },
            "smaug-bpe" | "dbrx" => Self::split(&[LLAMA_3_WORDS])?,
            "qwen2" | "deepseek-r1-qwen" => Self {
                composes: true,
                ..Self::split(&[QWEN_2_WORDS])?
            },
            "gpt-4o" => Self::split(&[GPT_4O_WORDS])?,
            "tekken" => Self {
                keeps_whole: true,
                ..Self::split(&[TEKKEN_WORDS])?
            },
            other => {
                return Err(format!(
                    "tokenizer.ggml.pre \"{other}\" is not supported: only smollm, refact, \
                     starcoder, llama-bpe, smaug-bpe, dbrx, qwen2, deepseek-r1-qwen, gpt-4o, tekken, \
                     gpt-2 and default are"
                ));
            }
        };
        Ok(words)
    }

    fn plain(pre_tokenizer: impl Into<PreTokenizerWrapper>) -> Self {
        Self {
            pre_tokenizer: pre_tokenizer.into(),
            keeps_whole: false,
            composes: false,
        }
    }

    /// Splits by regular expressions, one after the other, and spells bytes as characters.
    fn split(expressions: &[&str]) -> Result<Self, String> {
        let splits = expressions.iter().map(|expression| isolated(expression));
        let mut steps = splits.collect::<Result<Vec<_>, _>>()?;
        steps.push(ByteLevel::new(false, true, false).into());
        Ok(Self::plain(Sequence::new(steps)))
    }
}

/// Splits a text so that each match of a regular expression is a word, and what lies between two.
fn isolated(regex: &str) -> Result<PreTokenizerWrapper, String> {
    let pattern = SplitPattern::Regex(regex.to_owned());
    let split = Split::new(pattern, SplitDelimiterBehavior::Isolated, false);
    Ok(split.map_err(|error| error.to_string())?.into())
}
