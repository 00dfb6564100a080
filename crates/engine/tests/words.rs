//! How the tokenizers of the families split texts into words: ids equal those of Hugging Face's
//! `tokenizers` (computed by `fixtures/make_tokenizations.py`). llama.cpp agrees wherever a text has no
//! combining marks, which it neither composes for Qwen2 nor counts among letters.

#![allow(clippy::unwrap_used, clippy::panic, unreachable_pub)]

mod vocabulary;

use std::fs;
use std::path::Path;

use farthing_engine::{TextError, Tokenizer};
use farthing_model::{Checkpoint, GgufTokenizer, LoadFormat};
use farthing_testkit::cached_gguf;
use serde_json::Value;
use vocabulary::{fixture, json, smollm2};

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

/// Qwen2.5-Coder's own vocabulary; the ids are in the fixture of the crate `model`.
#[test]
fn a_real_vocabulary_equals_transformers() {
    const GGUF_BYTES: u64 = 491_400_064;
    let Some(file) = cached_gguf(GGUF_BYTES) else {
        println!(
            "skipped: no GGUF file of {GGUF_BYTES} bytes (Qwen2.5-Coder-0.5B-Instruct, Q4_K_M) is in \
             the cache (FARTHING_CACHE, or ~/.cache/farthing)"
        );
        return;
    };
    let checkpoint = Checkpoint::open(&file, LoadFormat::Auto, 0).unwrap();
    let tokenizer = Tokenizer::from_gguf(checkpoint.gguf_tokenizer().unwrap()).unwrap();
    let answers =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../model/tests/fixtures/qwen/answers.json");
    let cases: Vec<Value> = serde_json::from_str(&fs::read_to_string(answers).unwrap()).unwrap();
    assert_eq!(cases.len(), 20);
    for case in cases {
        let expected: Vec<u32> = serde_json::from_value(case["ids"].clone()).unwrap();
        let found = tokenizer
            .encode(case["text"].as_str().unwrap(), false)
            .unwrap();
        assert_eq!(found, expected, "{}", case["prompt"]);
    }
}

/// `fixtures/make_tekken.py` writes both files.
#[test]
fn mistrals_own_file_equals_mistral_common() {
    let tokenizer = Tokenizer::from_dir(&fixture("directories/tekken")).unwrap();
    assert_eq!((tokenizer.bos_id(), tokenizer.eos_id()), (Some(1), Some(2)));
    assert_eq!(tokenizer.token_id("[/INST]"), Some(4));
    assert_eq!(tokenizer.token_id("<SPECIAL_29>"), Some(29));
    let cases: Vec<(String, Vec<u32>)> = serde_json::from_value(json("tekken.json")).unwrap();
    assert!(cases.len() > 20);
    for (text, expected) in cases {
        let found = tokenizer.encode(&text, true).unwrap();
        assert_eq!(found, expected, "{text:?}");
        assert_eq!(tokenizer.decode(&found, true), text);
    }
}

#[test]
fn a_damaged_file_of_mistral_is_refused() {
    let good = fs::read_to_string(fixture("directories/tekken/tekken.json")).unwrap();
    for (from, to, reason) in [
        ("AA==", "A*==", "cannot be read"),
        ("AQ==", "AA==", "twice"),
        ("\\\\p{N}|", "\\\\p{N}{1,3}|", "pattern"),
        (
            "\"default_vocab_size\":1430",
            "\"default_vocab_size\":9999",
            "9999",
        ),
        (
            "\"default_vocab_size\":1430",
            "\"default_vocab_size\":3",
            "calls for 3",
        ),
    ] {
        assert!(good.contains(from), "{from}");
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("tekken.json");
        fs::write(file, good.replacen(from, to, 1)).unwrap();
        let refused = Tokenizer::from_dir(directory.path())
            .unwrap_err()
            .to_string();
        assert!(refused.contains(reason), "{refused}");
    }
}
