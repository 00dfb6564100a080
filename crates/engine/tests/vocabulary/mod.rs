//! The vocabularies kept in `fixtures/`, as a GGUF would hold them.

#![allow(dead_code, reason = "each test file uses some of them")]

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use farthing_model::GgufTokenizer;
use flate2::read::GzDecoder;

const NORMAL: i32 = 1;
const UNKNOWN: i32 = 2;
const CONTROL: i32 = 3;
const BYTE: i32 = 6;

pub(crate) fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures")
        .join(name)
}

pub(crate) fn json(name: &str) -> serde_json::Value {
    serde_json::from_reader(File::open(fixture(name)).unwrap()).unwrap()
}

/// SmolLM2's, as in the demo's GGUF.
pub(crate) fn smollm2() -> GgufTokenizer {
    let lines = lines("smollm2.txt.gz");
    let gap = lines.iter().position(String::is_empty).unwrap();
    let (head, merges) = (&lines[..gap], &lines[gap + 1..]);
    let made = merges.iter().map(|merge| merge.replace(' ', ""));
    let tokens: Vec<String> = head.iter().cloned().chain(made).collect();
    let control = 17;
    GgufTokenizer {
        model: "gpt2".to_owned(),
        pre: Some("smollm".to_owned()),
        token_types: (0..tokens.len())
            .map(|id| if id < control { CONTROL } else { NORMAL })
            .collect(),
        tokens,
        merges: merges.to_vec(),
        bos_token_id: Some(1),
        eos_token_id: Some(2),
        unknown_token_id: Some(0),
        add_bos: Some(false),
        add_space_prefix: Some(false),
        ..GgufTokenizer::default()
    }
}

/// SmolLM2's tokens and Llama 3's control tokens and words.
pub(crate) fn llama_3() -> GgufTokenizer {
    let mut gguf = smollm2();
    let first = gguf.tokens.len() as u32;
    let control = [
        "<|begin_of_text|>",
        "<|end_of_text|>",
        "<|start_header_id|>",
        "<|end_header_id|>",
        "<|eot_id|>",
    ];
    gguf.tokens.extend(control.map(str::to_owned));
    gguf.token_types.extend(control.map(|_| CONTROL));
    GgufTokenizer {
        pre: Some("llama-bpe".to_owned()),
        bos_token_id: Some(first),
        eos_token_id: Some(first + 4),
        add_bos: Some(true),
        ..gguf
    }
}

/// Mistral's `v1`, `v2` or `v3`.
pub(crate) fn mistral(version: &str) -> GgufTokenizer {
    let head = match version {
        "v1" => Vec::new(),
        _ => lines(&format!("mistral-{version}-head.txt.gz")),
    };
    let pieces = lines("mistral.txt.gz");
    let start = [("<unk>", UNKNOWN), ("<s>", CONTROL), ("</s>", CONTROL)];
    let tokens = start
        .map(|(token, kind)| (token.to_owned(), kind, 0.0))
        .into_iter()
        .chain(head.iter().map(|line| {
            let (kind, token) = line.split_once(' ').unwrap();
            (token.to_owned(), kind.parse().unwrap(), 0.0)
        }))
        .chain((0..=255u8).map(|byte| (format!("<0x{byte:02X}>"), BYTE, 0.0)))
        .chain(pieces.into_iter().enumerate().map(|(rank, piece)| {
            let is_spaces = piece.chars().all(|character| character == '\u{2581}');
            let score = if is_spaces { -1e9 } else { -(rank as f32) };
            (piece, NORMAL, score)
        }));
    let mut gguf = GgufTokenizer {
        model: "llama".to_owned(),
        bos_token_id: Some(1),
        eos_token_id: Some(2),
        unknown_token_id: Some(0),
        ..GgufTokenizer::default()
    };
    for (token, kind, score) in tokens {
        gguf.tokens.push(token);
        gguf.token_types.push(kind);
        gguf.scores.push(score);
    }
    gguf
}

fn lines(name: &str) -> Vec<String> {
    let mut text = String::new();
    GzDecoder::new(File::open(fixture(name)).unwrap())
        .read_to_string(&mut text)
        .unwrap();
    text.split('\n').map(str::to_owned).collect()
}
