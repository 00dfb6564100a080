//! How the tokenizers of the families split texts into words: ids equal those of Hugging Face's
//! `tokenizers` (computed by `fixtures/make_tokenizations.py`). llama.cpp agrees wherever a text has no
//! combining marks, which it neither composes for Qwen2 nor counts among letters.

#![allow(clippy::unwrap_used, clippy::panic, unreachable_pub)]

mod vocabulary;

use farthing_engine::{TextError, Tokenizer};
use farthing_model::GgufTokenizer;
use vocabulary::{json, smollm2};

fn with_words(pre: &str) -> GgufTokenizer {
    let pre = Some(pre.to_owned());
    GgufTokenizer { pre, ..smollm2() }
}

#[test]
fn words_of_other_families_equal_hugging_faces() {
    let reference = json("tokenizations.json");
    let texts = reference["texts"].as_array().unwrap();
    for pre in ["smaug-bpe", "dbrx", "qwen2", "gpt-4o", "tekken", "refact"] {
        let tokenizer = Tokenizer::from_gguf(&with_words(pre)).unwrap();
        for (text, expected) in texts.iter().zip(reference[pre].as_array().unwrap()) {
            let text = text.as_str().unwrap();
            let encoded = tokenizer.encode(text, false).unwrap();
            let expected: Vec<u32> = serde_json::from_value(expected.clone()).unwrap();
            assert_eq!(encoded, expected, "{pre}: {text:?}");
            // Qwen2 composes characters.
            let decoded = tokenizer.decode(&encoded, false);
            assert_eq!(tokenizer.encode(&decoded, false).unwrap(), encoded);
            assert!(decoded == text || pre == "qwen2", "{pre}: {text:?}");
        }
    }
    // The texts tell the expressions apart.
    for (one, other) in [
        ("qwen2", "smaug-bpe"),
        ("qwen2", "tekken"),
        ("gpt-4o", "tekken"),
        ("gpt-4o", "dbrx"),
        ("tekken", "smaug-bpe"),
        ("refact", "qwen2"),
    ] {
        let differ = reference[one] != reference[other];
        assert!(differ, "{one} and {other}");
    }
}

#[test]
fn an_unknown_pre_tokenizer_is_refused_by_name() {
    let refused = Tokenizer::from_gguf(&with_words("deepseek-llm"));
    let Err(TextError::BadGguf(reason)) = refused else {
        panic!("not refused");
    };
    assert!(
        reason.contains("\"deepseek-llm\" is not supported"),
        "{reason}"
    );
    assert!(reason.contains("tekken"), "{reason}");
}

/// llama.cpp begins texts with BOS if a file says nothing, for these vocabularies only.
#[test]
fn a_silent_file_has_the_bos_of_its_words() {
    for (pre, has_bos) in [("tekken", true), ("qwen2", false), ("gpt-4o", false)] {
        let gguf = GgufTokenizer {
            add_bos: None,
            ..with_words(pre)
        };
        let ids = Tokenizer::from_gguf(&gguf)
            .unwrap()
            .encode("a", true)
            .unwrap();
        assert_eq!(ids.first() == Some(&1), has_bos, "{pre}");
    }
}
