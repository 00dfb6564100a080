//! Mistral's own tokenizer file, `tekken.json`, as a GGUF would hold it.
//!
//! It lists tokens by rank, the lowest of which is merged first (tiktoken). Special tokens come before
//! them in the order of ids. The rules are those of mistral-common's `Tekkenizer`.

use std::collections::HashSet;
use std::path::Path;

use farthing_model::{GgufTokenizer, read_regular_file};
use serde::Deserialize;

use super::token_bytes::byte_level_alphabet;
use super::words::TEKKEN_WORDS;
use super::{Tokenizer, gguf};
use crate::TextError;

/// Limit on the file. Those of 150,000 tokens have about 20 MB.
const MAX_BYTES: u64 = 256 << 20;
/// Longer tokens would take long to divide into merges. The longest in use has 128 bytes.
const MAX_TOKEN_BYTES: usize = 1 << 10;
/// The special tokens of files before version 11, which do not list them.
const SPECIAL: [&str; 20] = [
    "<unk>",
    "<s>",
    "</s>",
    "[INST]",
    "[/INST]",
    "[AVAILABLE_TOOLS]",
    "[/AVAILABLE_TOOLS]",
    "[TOOL_RESULTS]",
    "[/TOOL_RESULTS]",
    "[TOOL_CALLS]",
    "[IMG]",
    "<pad>",
    "[IMG_BREAK]",
    "[IMG_END]",
    "[PREFIX]",
    "[MIDDLE]",
    "[SUFFIX]",
    "[SYSTEM_PROMPT]",
    "[/SYSTEM_PROMPT]",
    "[TOOL_CONTENT]",
];
const TYPE_NORMAL: i32 = 1;
const TYPE_CONTROL: i32 = 3;

#[derive(Deserialize)]
struct File {
    config: Config,
    vocab: Vec<Token>,
    special_tokens: Option<Vec<Special>>,
}

#[derive(Deserialize)]
struct Config {
    pattern: String,
    default_vocab_size: usize,
    default_num_special_tokens: usize,
}

#[derive(Deserialize)]
struct Token {
    token_bytes: String,
}

#[derive(Deserialize)]
struct Special {
    rank: usize,
    token_str: String,
}

/// Reads the file.
pub(super) fn load(path: &Path) -> Result<Tokenizer, TextError> {
    let bad_file = |message: String| TextError::BadFile {
        path: path.to_owned(),
        message,
    };
    let json = read_regular_file(path, MAX_BYTES).map_err(|error| bad_file(error.to_string()))?;
    let file: File = serde_json::from_slice(&json).map_err(|error| bad_file(error.to_string()))?;
    let tokenizer = as_gguf(file).map_err(bad_file)?;
    gguf::build(&tokenizer).map_err(|error| bad_file(error.to_string()))
}

fn as_gguf(file: File) -> Result<GgufTokenizer, String> {
    let Config {
        pattern,
        default_vocab_size,
        default_num_special_tokens: num_special,
    } = file.config;
    if pattern != TEKKEN_WORDS {
        return Err(format!("its pattern {pattern:?} is not that of tekken"));
    }
    let num_tokens = default_vocab_size.checked_sub(num_special);
    let num_tokens = num_tokens.filter(|tokens| *tokens <= file.vocab.len());
    let Some(num_tokens) = num_tokens else {
        return Err(format!(
            "it lists {} tokens, and its config calls for {default_vocab_size} with {num_special} \
             special ones",
            file.vocab.len()
        ));
    };
    let mut tokens = special_tokens(file.special_tokens, num_special)?;
    let mut token_types = vec![TYPE_CONTROL; tokens.len()];
    let mut merges = Vec::new();
    let mut known = HashSet::new();
    let alphabet = byte_level_alphabet();
    for token in file.vocab.iter().take(num_tokens) {
        let bytes = decode_base64(&token.token_bytes)
            .filter(|bytes| !bytes.is_empty() && bytes.len() <= MAX_TOKEN_BYTES)
            .ok_or_else(|| format!("its token {:?} cannot be read", token.token_bytes))?;
        let spelled: String = bytes
            .iter()
            .map(|byte| alphabet[usize::from(*byte)])
            .collect();
        // Of two ways to make a token, the one with the longer left half comes first, because tiktoken
        // takes the leftmost of equal pairs.
        let cuts = spelled.char_indices().map(|(cut, _)| cut);
        let cuts = cuts.rev().filter(|cut| *cut > 0);
        for (left, right) in cuts.map(|cut| spelled.split_at(cut)) {
            if known.contains(left) && known.contains(right) {
                merges.push(format!("{left} {right}"));
            }
        }
        if !known.insert(spelled.clone()) {
            return Err(format!("it has the token {:?} twice", token.token_bytes));
        }
        tokens.push(spelled);
        token_types.push(TYPE_NORMAL);
    }
    let id = |name: &str| {
        let special = tokens.iter().take(num_special);
        let index = special.into_iter().position(|token| token == name)?;
        u32::try_from(index).ok()
    };
    Ok(GgufTokenizer {
        model: "gpt2".to_owned(),
        pre: Some("tekken".to_owned()),
        bos_token_id: id("<s>"),
        eos_token_id: id("</s>"),
        unknown_token_id: id("<unk>"),
        add_bos: Some(true),
        add_eos: Some(false),
        tokens,
        merges,
        token_types,
        ..GgufTokenizer::default()
    })
}

/// The special tokens in the order of ids. Those without a name are filled in.
fn special_tokens(listed: Option<Vec<Special>>, count: usize) -> Result<Vec<String>, String> {
    /// Far above any real file.
    const MAX_SPECIAL: usize = 1 << 16;
    if count > MAX_SPECIAL {
        return Err(format!(
            "it has {count} special tokens, more than {MAX_SPECIAL}"
        ));
    }
    let mut tokens: Vec<String> = (0..count).map(|id| format!("<SPECIAL_{id}>")).collect();
    let named: Vec<(usize, String)> = match listed {
        Some(listed) => listed
            .into_iter()
            .map(|it| (it.rank, it.token_str))
            .collect(),
        None => (0..).zip(SPECIAL.map(str::to_owned)).collect(),
    };
    for (id, name) in named {
        match tokens.get_mut(id) {
            Some(token) => *token = name,
            None => {
                return Err(format!(
                    "its special token {name:?} has the id {id} of {count}"
                ));
            }
        }
    }
    Ok(tokens)
}

/// The bytes of base64 with padding (RFC 4648); `None` if it is not that.
fn decode_base64(text: &str) -> Option<Vec<u8>> {
    let digits = text.trim_end_matches('=').bytes().map(|digit| match digit {
        b'A'..=b'Z' => Some(digit - b'A'),
        b'a'..=b'z' => Some(digit - b'a' + 26),
        b'0'..=b'9' => Some(digit - b'0' + 52),
        b'+' => Some(62),
        b'/' => Some(63),
        _ => None,
    });
    if !text.len().is_multiple_of(4) || text.ends_with("===") {
        return None;
    }
    let (mut bytes, mut bits, mut held) = (Vec::with_capacity(text.len()), 0_u32, 0);
    for digit in digits {
        bits = bits << 6 | u32::from(digit?);
        held += 6;
        if held >= 8 {
            held -= 8;
            bytes.push((bits >> held) as u8);
            bits &= (1 << held) - 1;
        }
    }
    Some(bytes)
}
