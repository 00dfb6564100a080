//! What a GGUF file means that lacks a key: llama.cpp's rule, a warning, or a refusal that names the key.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a failed unwrap is a failed test"
)]

use std::{collections::BTreeMap, fs::File, path::PathBuf};

use candle_core::quantized::{
    GgmlDType, QTensor,
    gguf_file::{self, Value},
};
use candle_core::{DType, Device, Tensor};
use farthing_model::{Checkpoint, LoadFormat, ModelError, RopeScaling};
use tempfile::TempDir;

const TOKENS: u32 = 8;
const WIDTH: usize = 8;

type Keys = BTreeMap<&'static str, Value>;

/// A whole file of a byte-level model.
fn byte_level() -> Keys {
    let text = |text: &str| Value::String(text.to_owned());
    let tokens = (0..TOKENS).map(|id| text(&format!("t{id}"))).collect();
    let mut keys = Keys::from([
        ("general.architecture", text("llama")),
        ("llama.attention.layer_norm_rms_epsilon", Value::F32(1e-5)),
        ("tokenizer.ggml.model", text("gpt2")),
        ("tokenizer.ggml.pre", text("llama-bpe")),
        ("tokenizer.ggml.tokens", Value::Array(tokens)),
        ("tokenizer.ggml.merges", Value::Array(vec![text("t t")])),
        (
            "tokenizer.ggml.token_type",
            Value::Array(vec![Value::I32(1); TOKENS as usize]),
        ),
    ]);
    for (key, number) in [
        ("llama.block_count", 1),
        ("llama.context_length", 64),
        ("llama.embedding_length", WIDTH as u32),
        ("llama.feed_forward_length", WIDTH as u32),
        ("llama.attention.head_count", 1),
        ("tokenizer.ggml.bos_token_id", 3),
        ("tokenizer.ggml.eos_token_id", 4),
    ] {
        keys.insert(key, Value::U32(number));
    }
    keys
}

/// A whole file of a SentencePiece model.
fn sentence_piece() -> Keys {
    let mut keys = byte_level();
    keys.insert("tokenizer.ggml.model", Value::String("llama".to_owned()));
    keys.insert(
        "tokenizer.ggml.scores",
        Value::Array(vec![Value::F32(0.0); TOKENS as usize]),
    );
    keys.remove("tokenizer.ggml.pre");
    keys.remove("tokenizer.ggml.merges");
    keys
}

fn open_with(keys: &Keys, more: &[&str]) -> Result<Checkpoint, ModelError> {
    let zeros = |shape: &[usize]| {
        let tensor = Tensor::zeros(shape, DType::F32, &Device::Cpu).unwrap();
        QTensor::quantize(&tensor, GgmlDType::F32).unwrap()
    };
    let matrix = zeros(&[WIDTH, WIDTH]);
    let vector = zeros(&[WIDTH]);
    let layer = |part: &str| format!("blk.0.{part}.weight");
    let matrices = [
        "attn_q",
        "attn_k",
        "attn_v",
        "attn_output",
        "ffn_gate",
        "ffn_up",
        "ffn_down",
    ];
    let mut tensors: Vec<(String, &QTensor)> =
        matrices.iter().map(|part| (layer(part), &matrix)).collect();
    tensors.extend(["attn_norm", "ffn_norm"].map(|part| (layer(part), &vector)));
    tensors.push(("output_norm.weight".to_owned(), &vector));
    tensors.push(("token_embd.weight".to_owned(), &matrix));
    let divisors = Tensor::ones(&[WIDTH / 2], DType::F32, &Device::Cpu).unwrap();
    let divisors = QTensor::quantize(&divisors, GgmlDType::F32).unwrap();
    for name in more {
        let tensor = if *name == "rope_freqs.weight" {
            &divisors
        } else {
            &matrix
        };
        tensors.push(((*name).to_owned(), tensor));
    }
    let directory = TempDir::new().unwrap();
    let path: PathBuf = directory.path().join("model.gguf");
    let keys: Vec<_> = keys.iter().map(|(key, value)| (*key, value)).collect();
    let tensors: Vec<_> = tensors
        .iter()
        .map(|(name, tensor)| (name.as_str(), *tensor))
        .collect();
    gguf_file::write(&mut File::create(&path).unwrap(), &keys, &tensors).unwrap();
    Checkpoint::open(&path, LoadFormat::Auto, 0)
}

fn open(keys: &Keys) -> Result<Checkpoint, ModelError> {
    open_with(keys, &[])
}

fn without(mut keys: Keys, key: &str) -> Keys {
    assert!(keys.remove(key).is_some(), "{key}");
    keys
}

fn with(mut keys: Keys, key: &'static str, value: Value) -> Keys {
    keys.insert(key, value);
    keys
}

#[test]
fn keys_that_nothing_can_replace_are_refused_by_name() {
    for key in [
        "general.architecture",
        "llama.block_count",
        "llama.context_length",
        "llama.embedding_length",
        "llama.feed_forward_length",
        "llama.attention.head_count",
        "llama.attention.layer_norm_rms_epsilon",
        "tokenizer.ggml.pre",
        "tokenizer.ggml.token_type",
    ] {
        let message = open(&without(byte_level(), key)).unwrap_err().to_string();
        let name = key.trim_start_matches("general.");
        assert!(message.contains(name), "{key}: {message}");
    }
}

#[test]
fn sentence_piece_has_llama_cpps_special_tokens() {
    let mut keys = sentence_piece();
    let ids = |keys: &Keys| {
        let checkpoint = open(keys).unwrap();
        let config = checkpoint.config().clone();
        let tokenizer = checkpoint.gguf_tokenizer().unwrap();
        assert_eq!(tokenizer.bos_token_id, config.bos_token_id);
        assert!(checkpoint.warnings().is_empty());
        let unknown = tokenizer.unknown_token_id;
        (unknown, config.bos_token_id, config.eos_token_ids)
    };
    assert_eq!(ids(&keys), (Some(0), Some(3), vec![4]));
    keys.remove("tokenizer.ggml.bos_token_id");
    keys.remove("tokenizer.ggml.eos_token_id");
    assert_eq!(ids(&keys), (Some(0), Some(1), vec![2]));
}

#[test]
fn a_file_without_an_end_of_sequence_is_told() {
    let keys = without(byte_level(), "tokenizer.ggml.eos_token_id");
    let checkpoint = open(&keys).unwrap();
    let [warning] = checkpoint.warnings() else {
        panic!("{:?}", checkpoint.warnings());
    };
    assert!(warning.contains("tokenizer.ggml.eos_token_id"), "{warning}");
}

#[test]
fn missing_sizes_and_scales_are_llama_cpps() {
    let checkpoint = open(&byte_level()).unwrap();
    let config = checkpoint.config();
    assert_eq!((config.head_dim, config.num_key_value_heads), (WIDTH, 1));
    assert_eq!(config.rope.theta, 10_000.0);
    assert_eq!(config.rope.scaling, RopeScaling::None);
    assert_eq!(config.vocab_size, TOKENS as usize);
    // `linear` without a factor is a factor of one.
    let linear = Value::String("linear".to_owned());
    let keys = with(byte_level(), "llama.rope.scaling.type", linear);
    let rope = |names: &[&str]| open_with(&keys, names).unwrap().config().rope.clone();
    assert_eq!(rope(&[]).scaling, RopeScaling::None);
    let divisors = RopeScaling::Divisors(vec![1.0; WIDTH / 2]);
    assert_eq!(rope(&["rope_freqs.weight"]).scaling, divisors);
}

#[test]
fn keys_of_other_computations_are_refused_by_name() {
    for (key, value) in [
        ("llama.attention.causal", Value::Bool(false)),
        ("llama.attention.scale", Value::F32(0.5)),
        ("llama.rope.scaling.attn_factor", Value::F32(1.2)),
    ] {
        let message = open(&with(byte_level(), key, value))
            .unwrap_err()
            .to_string();
        assert!(message.contains(key), "{message}");
    }
}

#[test]
fn the_files_output_layer_decides_whether_it_is_tied() {
    let tied = open(&byte_level()).unwrap();
    assert!(tied.config().tie_word_embeddings && !tied.contains("lm_head.weight"));
    let own = open_with(&byte_level(), &["output.weight"]).unwrap();
    assert!(!own.config().tie_word_embeddings && own.contains("lm_head.weight"));
}
