//! The tokenizer described by a GGUF's `tokenizer.ggml.*` metadata.

use std::cmp::Reverse;
use std::collections::HashSet;

use farthing_model::GgufTokenizer;
use tokenizers::AddedToken;
use tokenizers::models::bpe::{BPE, Merges, Vocab};
use tokenizers::normalizers::unicode::NFC;
use tokenizers::pre_tokenizers::metaspace::{Metaspace, PrependScheme};

use super::token_bytes::{Alphabet, TokenBytes};
use super::words::Words;
use super::{ControlTokens, Tokenizer, reach};
use crate::TextError;

/// The values of llama.cpp's `llama_token_type` that matter here.
const TYPE_NORMAL: i32 = 1;
const TYPE_UNKNOWN: i32 = 2;
const TYPE_CONTROL: i32 = 3;
const TYPE_USER_DEFINED: i32 = 4;

pub(super) fn build(gguf: &GgufTokenizer) -> Result<Tokenizer, TextError> {
    match gguf.model.as_str() {
        "gpt2" => byte_level(gguf),
        "llama" => sentence_piece(gguf),
        other => Err(format!(
            "tokenizer.ggml.model \"{other}\" is not supported: only \"gpt2\" (byte-level BPE) \
             and \"llama\" (SentencePiece) are"
        )),
    }
    .map_err(TextError::BadGguf)
}

fn byte_level(gguf: &GgufTokenizer) -> Result<Tokenizer, String> {
    let vocab = vocab(gguf)?;
    let merges = listed_merges(gguf, &vocab)?;
    // A file without it is refused when it is opened.
    let words = Words::named(gguf.pre.as_deref().unwrap_or("gpt-2"))?;
    let model = BPE::builder()
        .vocab_and_merges(vocab, merges)
        .ignore_merges(words.keeps_whole)
        .build()
        .map_err(|error| error.to_string())?;
    let mut inner = tokenizers::Tokenizer::new(model);
    inner.with_pre_tokenizer(Some(words.pre_tokenizer));
    if words.composes {
        inner
            .with_normalizer(Some(NFC))
            .map_err(|error| error.to_string())?;
    }
    // llama.cpp's rule for files without the key.
    let add_bos = gguf.add_bos.unwrap_or(words.keeps_whole);
    finish(gguf, inner, &Alphabet::byte_level(), add_bos)
}

/// SentencePiece's BPE merges the neighbours whose union has the highest score, so that sorting by
/// score gives the list of merges.
fn sentence_piece(gguf: &GgufTokenizer) -> Result<Tokenizer, String> {
    let unknown = gguf.unknown_token_id.unwrap_or(0) as usize;
    let unknown = gguf
        .tokens
        .get(unknown)
        .ok_or_else(|| format!("unknown_token_id {unknown} is outside its vocabulary"))?;
    let model = BPE::builder()
        .vocab_and_merges(vocab(gguf)?, scored_merges(gguf)?)
        .unk_token(unknown.clone())
        .fuse_unk(true)
        .byte_fallback(true)
        .build()
        .map_err(|error| error.to_string())?;
    let prepend = match gguf.add_space_prefix {
        Some(false) => PrependScheme::Never,
        _ => PrependScheme::Always,
    };
    let mut inner = tokenizers::Tokenizer::new(model);
    inner.with_pre_tokenizer(Some(Metaspace::new('\u{2581}', prepend, false)));
    let add_bos = gguf.add_bos.unwrap_or(true);
    let tokenizer = finish(gguf, inner, &Alphabet::SentencePiece, add_bos)?;
    Ok(Tokenizer {
        strips_leading_space: prepend == PrependScheme::Always,
        doubles_leading_space: prepend == PrependScheme::Always,
        ..tokenizer
    })
}

fn finish(
    gguf: &GgufTokenizer,
    mut inner: tokenizers::Tokenizer,
    alphabet: &Alphabet,
    add_bos: bool,
) -> Result<Tokenizer, String> {
    let mut token_bytes = TokenBytes::default();
    let mut added = Vec::new();
    let mut seen = HashSet::new();
    for (id, token) in gguf.tokens.iter().enumerate() {
        let kind = gguf.token_types.get(id).copied().unwrap_or(TYPE_NORMAL);
        let is_special = matches!(kind, TYPE_CONTROL | TYPE_UNKNOWN);
        if is_special || kind == TYPE_USER_DEFINED {
            token_bytes.push_added(token, is_special);
            if !token.is_empty() && seen.insert(token) {
                added.push(AddedToken::from(token.clone(), is_special).normalized(false));
            }
        } else {
            token_bytes.push_spelled(token, alphabet);
        }
    }
    inner
        .add_tokens(added)
        .map_err(|error| format!("its special tokens: {error}"))?;

    let known = |key: &str, id: Option<u32>| match id {
        Some(id) if id as usize >= gguf.tokens.len() => {
            Err(format!("{key} {id} is outside its vocabulary"))
        }
        id => Ok(id),
    };
    let bos = known("bos_token_id", gguf.bos_token_id)?;
    let eos = known("eos_token_id", gguf.eos_token_id)?;
    let add_eos = gguf.add_eos.unwrap_or(false);
    for (key, is_due, id) in [("bos", add_bos, bos), ("eos", add_eos, eos)] {
        if is_due && id.is_none() {
            return Err(format!(
                "a text needs a token that it does not name: {key}_token_id is missing"
            ));
        }
    }
    let named = [
        ("bos_token", bos),
        ("eos_token", eos),
        ("unk_token", gguf.unknown_token_id),
    ];
    let name = |id: Option<u32>| gguf.tokens.get(id? as usize).cloned();
    let named = named.into_iter();
    let named = named
        .filter_map(|(key, id)| Some((key, name(id)?)))
        .collect();
    Ok(Tokenizer {
        control: ControlTokens::of(&inner),
        reach: reach::of(&inner, &token_bytes),
        inner,
        token_bytes,
        strips_leading_space: false,
        doubles_leading_space: false,
        prefix: bos.filter(|_| add_bos).into_iter().collect(),
        suffix: eos.filter(|_| add_eos).into_iter().collect(),
        bos,
        eos,
        named,
    })
}

fn vocab(gguf: &GgufTokenizer) -> Result<Vocab, String> {
    let tokens = gguf.tokens.len();
    for (key, len) in [
        ("token_type", gguf.token_types.len()),
        ("scores", gguf.scores.len()),
    ] {
        if len != 0 && len != tokens {
            return Err(format!("{tokens} tokens but {len} entries in {key}"));
        }
    }
    if tokens == 0 {
        return Err("its vocabulary (tokenizer.ggml.tokens) is missing".to_owned());
    }
    Ok(gguf.tokens.iter().cloned().zip(0..).collect())
}

fn listed_merges(gguf: &GgufTokenizer, vocab: &Vocab) -> Result<Merges, String> {
    if gguf.merges.is_empty() {
        return Err("its merges (tokenizer.ggml.merges) are missing".to_owned());
    }
    let mut merges = Merges::with_capacity(gguf.merges.len());
    let mut union = String::new();
    for merge in &gguf.merges {
        let pair = merge.split_once(' ').filter(|(left, right)| {
            union.clear();
            union.push_str(left);
            union.push_str(right);
            [*left, *right, &union]
                .iter()
                .all(|token| vocab.contains_key(*token))
        });
        let (left, right) =
            pair.ok_or_else(|| format!("the merge \"{merge}\" has tokens that it does not list"))?;
        merges.push((left.to_owned(), right.to_owned()));
    }
    Ok(merges)
}

fn scored_merges(gguf: &GgufTokenizer) -> Result<Merges, String> {
    if gguf.scores.is_empty() {
        return Err("its scores (tokenizer.ggml.scores) are missing".to_owned());
    }
    let normal = |id: usize| {
        gguf.token_types
            .get(id)
            .is_none_or(|&kind| kind == TYPE_NORMAL)
    };
    let pieces: HashSet<&str> = (gguf.tokens.iter().enumerate())
        .filter(|&(id, _)| normal(id))
        .map(|(_, token)| token.as_str())
        .collect();
    let mut merges = Vec::new();
    for (id, token) in gguf.tokens.iter().enumerate().filter(|&(id, _)| normal(id)) {
        let cuts = token
            .char_indices()
            .skip(1)
            .map(|(cut, _)| token.split_at(cut));
        merges.extend(
            cuts.filter(|(left, right)| pieces.contains(left) && pieces.contains(right))
                .map(|pair| (gguf.scores[id], pair)),
        );
    }
    // Of two splits of the same piece the one with the longer left half comes first: SentencePiece
    // prefers the leftmost of equal unions, and a longer left half starts further left.
    merges.sort_by(|(a_score, a), (b_score, b)| {
        (b_score.total_cmp(a_score)).then_with(|| Reverse(a.0.len()).cmp(&Reverse(b.0.len())))
    });
    let owned = |(_, (left, right)): (f32, (&str, &str))| (left.to_owned(), right.to_owned());
    Ok(merges.into_iter().map(owned).collect())
}
