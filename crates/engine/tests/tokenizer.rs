//! Ids equal those of Hugging Face's `tokenizers` and of `sentencepiece`, and llama.cpp confirms
//! them (computed by `fixtures/make_tokenizations.py` and `make_directories.py`).

#![allow(clippy::unwrap_used, clippy::panic, unreachable_pub)]

mod vocabulary;

use std::fs;

use farthing_engine::{TextError, Tokenizer};
use farthing_model::GgufTokenizer;
use serde_json::Value;
use vocabulary::{fixture, json, llama_3, mistral, smollm2};

fn ids(value: &Value) -> Vec<u32> {
    serde_json::from_value(value.clone()).unwrap()
}

fn assert_reference(name: &str, gguf: &GgufTokenizer) {
    let tokenizer = Tokenizer::from_gguf(gguf).unwrap();
    let reference = json("tokenizations.json");
    let texts = reference["texts"].as_array().unwrap();
    assert!(texts.len() > 200);
    for (text, expected) in texts.iter().zip(reference[name].as_array().unwrap()) {
        let text = text.as_str().unwrap();
        let encoded = tokenizer.encode(text, false).unwrap();
        assert_eq!(encoded, ids(expected), "{text:?}");
        let decoded = tokenizer.decode(&encoded, false);
        // SentencePiece writes a space as ▁, so it cannot separate the two afterwards.
        if !(gguf.model == "llama" && text.contains('\u{2581}')) {
            assert_eq!(decoded, text);
        }
    }
}

#[test]
fn smollm_words_equal_hugging_faces() {
    assert_reference("smollm", &smollm2());
}

#[test]
fn gpt_2_words_equal_hugging_faces() {
    let pre = Some("gpt-2".to_owned());
    assert_reference("gpt-2", &GgufTokenizer { pre, ..smollm2() });
}

#[test]
fn llama_3_words_equal_hugging_faces() {
    assert_reference("llama-bpe", &llama_3());
}

#[test]
fn mistral_v1_pieces_equal_sentencepieces() {
    assert_reference("mistral-v1", &mistral("v1"));
}

#[test]
fn mistral_v3_pieces_equal_sentencepieces() {
    assert_reference("mistral-v3", &mistral("v3"));
}

#[test]
fn directories_equal_hugging_faces() {
    let reference = json("directories.json");
    for (name, expected) in reference.as_object().unwrap() {
        let tokenizer = Tokenizer::from_dir(&fixture("directories").join(name)).unwrap();
        let id = |key: &str| expected[key].as_u64().map(|id| id as u32);
        assert_eq!(
            (tokenizer.bos_id(), tokenizer.eos_id()),
            (id("bos"), id("eos")),
            "{name}"
        );
        for case in expected["cases"].as_array().unwrap() {
            let text = case["text"].as_str().unwrap();
            let bare = ids(&case["ids"]);
            assert_eq!(
                tokenizer.encode(text, false).unwrap(),
                bare,
                "{name}: {text:?}"
            );
            let dressed = tokenizer.encode(text, true).unwrap();
            assert_eq!(
                (Some(dressed[0]), &dressed[1..]),
                (id("bos"), bare.as_slice())
            );
            assert_eq!(
                tokenizer.decode(&dressed, true),
                case["decoded"].as_str().unwrap()
            );
            assert_eq!(
                tokenizer.decode(&dressed, false),
                case["decoded_whole"].as_str().unwrap()
            );
        }
    }
}

#[test]
fn special_tokens_are_known_by_id_and_name() {
    let tokenizer = Tokenizer::from_gguf(&smollm2()).unwrap();
    assert_eq!(tokenizer.vocab_size(), 49_152);
    assert_eq!(tokenizer.bos_token().as_deref(), Some("<|im_start|>"));
    assert_eq!(tokenizer.eos_token().as_deref(), Some("<|im_end|>"));
    assert_eq!(tokenizer.token_id("<|im_end|>"), tokenizer.eos_id());
    assert_eq!(tokenizer.special_ids(), (0..17).collect::<Vec<_>>());
    assert_eq!(tokenizer.decode(&[1, 2], true), "");
    assert_eq!(tokenizer.decode(&[1, 2], false), "<|im_start|><|im_end|>");
    // SmolLM2 adds no special token to a text; Llama 3 adds its BOS once.
    assert!(tokenizer.encode("", true).unwrap().is_empty());
    let llama = Tokenizer::from_gguf(&llama_3()).unwrap();
    assert_eq!(llama.encode("", true).unwrap(), [llama.bos_id().unwrap()]);
}

#[test]
fn every_tokens_bytes_are_known() {
    let tokenizer = Tokenizer::from_gguf(&smollm2()).unwrap();
    let text = "naïve 漢字 😀\u{200d}\n\t end";
    let encoded = tokenizer.encode(text, false).unwrap();
    let bytes: Vec<u8> = encoded
        .iter()
        .flat_map(|&id| tokenizer.token_bytes(id))
        .copied()
        .collect();
    assert_eq!(bytes, text.as_bytes());
    assert_eq!(tokenizer.token_bytes(1), b"<|im_start|>");
    assert_eq!(tokenizer.token_bytes(49_152), b"");

    let mistral = Tokenizer::from_gguf(&mistral("v1")).unwrap();
    assert_eq!(mistral.token_bytes(3 + 0xE2), [0xE2]);
    assert_eq!(
        mistral.token_bytes(mistral.token_id("▁the").unwrap()),
        b" the"
    );
}

#[test]
fn what_a_gguf_cannot_mean_is_refused_by_name() {
    let refused = |gguf: GgufTokenizer| match Tokenizer::from_gguf(&gguf) {
        Err(TextError::BadGguf(message)) => message,
        other => panic!("{other:?}"),
    };
    let text = |text: &str| Some(text.to_owned());
    let cases = [
        (
            GgufTokenizer {
                model: "bert".to_owned(),
                ..smollm2()
            },
            "bert",
        ),
        (
            GgufTokenizer {
                pre: text("deepseek-llm"),
                ..smollm2()
            },
            "deepseek-llm",
        ),
        (
            GgufTokenizer {
                merges: vec![],
                ..smollm2()
            },
            "merges",
        ),
        (
            GgufTokenizer {
                merges: vec!["q zzz zzz".to_owned()],
                ..smollm2()
            },
            "q zzz zzz",
        ),
        (
            GgufTokenizer {
                merges: vec!["alone".to_owned()],
                ..smollm2()
            },
            "alone",
        ),
        (
            GgufTokenizer {
                tokens: vec![],
                token_types: vec![],
                ..smollm2()
            },
            "tokens",
        ),
        (
            GgufTokenizer {
                token_types: vec![1],
                ..smollm2()
            },
            "token_type",
        ),
        (
            GgufTokenizer {
                bos_token_id: Some(49_152),
                ..smollm2()
            },
            "bos_token_id 49152",
        ),
        (
            GgufTokenizer {
                bos_token_id: None,
                add_bos: None,
                ..llama_3()
            },
            "bos_token_id is missing",
        ),
        (
            GgufTokenizer {
                eos_token_id: None,
                add_eos: Some(true),
                ..smollm2()
            },
            "eos_token_id is missing",
        ),
        (
            GgufTokenizer {
                scores: vec![],
                ..mistral("v1")
            },
            "scores",
        ),
        (
            GgufTokenizer {
                unknown_token_id: Some(32_000),
                ..mistral("v1")
            },
            "unknown_token_id",
        ),
    ];
    for (gguf, name) in cases {
        let message = refused(gguf);
        assert!(message.contains(name), "{message}");
    }
}

#[test]
fn what_a_directory_cannot_mean_is_refused_by_name() {
    let directory = tempfile::tempdir().unwrap();
    let refused = || {
        Tokenizer::from_dir(directory.path())
            .unwrap_err()
            .to_string()
    };
    assert!(
        refused().contains("tokenizer.json: not found"),
        "{}",
        refused()
    );
    let path = directory.path().join("tokenizer.json");
    fs::write(&path, "{}").unwrap();
    assert!(refused().contains("tokenizer.json"), "{}", refused());

    let good = fixture("directories/llama-3/tokenizer.json");
    let mut json: Value = serde_json::from_str(&fs::read_to_string(good).unwrap()).unwrap();
    json["decoder"] = serde_json::json!({"type": "WordPiece", "prefix": "##", "cleanup": true});
    fs::write(&path, json.to_string()).unwrap();
    assert!(refused().contains("WordPiece"), "{}", refused());
    json["decoder"] = Value::Null;
    fs::write(&path, json.to_string()).unwrap();
    assert!(refused().contains("no decoder"), "{}", refused());
}

#[test]
fn a_token_of_an_enormous_id_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let good = fixture("directories/llama-3/tokenizer.json");
    let mut json: Value = serde_json::from_slice(&fs::read(good).unwrap()).unwrap();
    json["model"]["vocab"]["<enormous>"] = 4_000_000_000_u32.into();
    fs::write(directory.path().join("tokenizer.json"), json.to_string()).unwrap();
    let error = Tokenizer::from_dir(directory.path())
        .unwrap_err()
        .to_string();
    assert!(error.contains("id 4000000000"), "{error}");
}

#[test]
fn a_directorys_truncation_and_padding_are_not_applied() {
    let directory = tempfile::tempdir().unwrap();
    let good = fixture("directories/llama-3/tokenizer.json");
    let mut json: Value = serde_json::from_str(&fs::read_to_string(good).unwrap()).unwrap();
    json["truncation"] = serde_json::json!({
        "direction": "Right", "max_length": 4, "strategy": "LongestFirst", "stride": 0
    });
    json["padding"] = serde_json::json!({
        "strategy": {"Fixed": 64}, "direction": "Right", "pad_to_multiple_of": null,
        "pad_id": 0, "pad_type_id": 0, "pad_token": "!"
    });
    fs::write(directory.path().join("tokenizer.json"), json.to_string()).unwrap();
    let tokenizer = Tokenizer::from_dir(directory.path()).unwrap();
    let text = "a text of more than four tokens and fewer than sixty-four";
    let encoded = tokenizer.encode(text, false).unwrap();
    assert_eq!(tokenizer.decode(&encoded, false), text);
}

/// Its tokenizer composes characters, which makes texts shorter.
fn qwen2() -> GgufTokenizer {
    let pre = Some("qwen2".to_owned());
    GgufTokenizer { pre, ..smollm2() }
}

#[test]
fn a_text_has_at_least_the_tokens_of_its_bytes() {
    let reference = json("tokenizations.json");
    let texts = reference["texts"].as_array().unwrap();
    let long = [
        " ".repeat(1000),
        "\u{2581}".repeat(1000),
        "a".repeat(1000),
        // Of seven bytes, composition leaves two.
        "\u{03b9}\u{0308}\u{0301}".repeat(1000),
        "\u{212a}".repeat(1000),
    ];
    let mistral = [mistral("v1"), mistral("v3")].map(|gguf| Tokenizer::from_gguf(&gguf).unwrap());
    let byte_level =
        [smollm2(), llama_3(), qwen2()].map(|gguf| Tokenizer::from_gguf(&gguf).unwrap());
    for tokenizer in mistral.iter().chain(&byte_level) {
        let texts = texts.iter().map(|text| text.as_str().unwrap());
        for text in texts.chain(long.iter().map(String::as_str)) {
            let tokens = tokenizer.encode(text, false).unwrap().len();
            let least = tokenizer.least_tokens(text);
            assert!(least <= tokens, "{text:?} has {tokens} tokens, not {least}");
        }
        assert!(tokenizer.least_tokens(&long[2]) > 0);
    }
    // A vocabulary without some characters of the alphabet drops them: they do not count.
    let mut gguf = smollm2();
    let dropped = gguf.tokens.iter().position(|token| token == "Q").unwrap();
    gguf.tokens[dropped] = "<dropped>".to_owned();
    gguf.merges.retain(|merge| !merge.contains('Q'));
    if let Ok(tokenizer) = Tokenizer::from_gguf(&gguf) {
        assert!(
            tokenizer
                .encode(&"Q".repeat(100), false)
                .unwrap()
                .is_empty()
        );
        assert_eq!(tokenizer.least_tokens(&"Q".repeat(100)), 0);
        let least = tokenizer.least_tokens(&"aQ".repeat(100));
        assert_eq!(least, tokenizer.least_tokens(&"a".repeat(100)));
        assert!(least > 0);
    }
}

/// The tokenizers crate panics at these.
#[test]
fn a_file_that_is_cut_within_its_decoder_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let good = fs::read_to_string(fixture("directories/llama-3/tokenizer.json")).unwrap();
    let decoder = good.find("\"decoder\"").unwrap();
    for end in [decoder + 12, decoder + 20] {
        fs::write(directory.path().join("tokenizer.json"), &good[..end]).unwrap();
        let refused = Tokenizer::from_dir(directory.path());
        assert!(
            matches!(refused, Err(TextError::BadFile { .. })),
            "{refused:?}"
        );
    }
}
