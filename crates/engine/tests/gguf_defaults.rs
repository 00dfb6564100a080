//! What a GGUF's tokenizer means by a default or a missing key: llama.cpp's rule.

#![allow(clippy::unwrap_used, clippy::panic, unreachable_pub)]

mod vocabulary;

use farthing_engine::Tokenizer;
use farthing_model::GgufTokenizer;
use vocabulary::{llama_3, mistral, smollm2};

fn byte_level(pre: &str) -> GgufTokenizer {
    GgufTokenizer {
        pre: Some(pre.to_owned()),
        ..smollm2()
    }
}

/// Checked by hand: `default` cuts punctuation off first, so that no space joins it, and then digits
/// into threes from the left.
#[test]
fn default_words_are_llama_cpps() {
    let tokenizer = Tokenizer::from_gguf(&byte_level("default")).unwrap();
    let gpt_2 = Tokenizer::from_gguf(&byte_level("gpt-2")).unwrap();
    for (text, words) in [
        ("plain words here", &["plain", " words", " here"][..]),
        ("a (b", &["a", " ", "(", "b"]),
        ("it's", &["it", "'", "s"]),
        ("n 12345", &["n", " ", "123", "45"]),
        ("x=1+2", &["x", "=", "1", "+", "2"]),
    ] {
        let of_words: Vec<u32> = words
            .iter()
            .flat_map(|word| gpt_2.encode(word, false).unwrap())
            .collect();
        assert_eq!(tokenizer.encode(text, false).unwrap(), of_words, "{text:?}");
    }
    assert_ne!(
        tokenizer.encode("a (b", false).unwrap(),
        gpt_2.encode("a (b", false).unwrap()
    );
}

#[test]
fn without_a_key_bos_is_due_where_llama_cpp_adds_it() {
    let starts_with_bos = |gguf: GgufTokenizer| {
        let tokenizer = Tokenizer::from_gguf(&gguf).unwrap();
        let ids = tokenizer.encode("a", true).unwrap();
        ids.first().copied() == tokenizer.bos_id()
    };
    for (add_bos, is_due) in [(None, true), (Some(true), true), (Some(false), false)] {
        for pre in ["llama-bpe", "llama3", "llama-v3"] {
            let pre = Some(pre.to_owned());
            let gguf = GgufTokenizer {
                pre,
                add_bos,
                ..llama_3()
            };
            assert_eq!(starts_with_bos(gguf), is_due, "{add_bos:?}");
        }
        let gguf = GgufTokenizer {
            add_bos,
            ..mistral("v1")
        };
        assert_eq!(starts_with_bos(gguf), is_due, "{add_bos:?}");
    }
    for pre in ["smollm", "gpt-2", "default"] {
        let gguf = GgufTokenizer {
            add_bos: None,
            ..byte_level(pre)
        };
        assert!(!starts_with_bos(gguf), "{pre}");
    }
}
