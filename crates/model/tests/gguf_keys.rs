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

type Keys<'a> = BTreeMap<&'a str, Value>;

/// A whole file of a byte-level model.
fn byte_level() -> Keys<'static> {
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
fn sentence_piece() -> Keys<'static> {
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
        let tensor = match *name {
            "rope_freqs.weight" => &divisors,
            bias if bias.ends_with(".bias") => &vector,
            _ => &matrix,
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

fn without<'a>(mut keys: Keys<'a>, key: &str) -> Keys<'a> {
    assert!(keys.remove(key).is_some(), "{key}");
    keys
}

fn with<'a>(mut keys: Keys<'a>, key: &'a str, value: Value) -> Keys<'a> {
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

/// The same file as another family of llama.cpp.
fn as_family(family: &str) -> BTreeMap<String, Value> {
    let rename = |(key, value): (&str, Value)| match key.strip_prefix("llama.") {
        Some(rest) => (format!("{family}.{rest}"), value),
        None => (key.to_owned(), value),
    };
    let mut keys: BTreeMap<_, _> = byte_level().into_iter().map(rename).collect();
    let name = Value::String(family.to_owned());
    keys.insert("general.architecture".to_owned(), name);
    keys
}

fn borrowed(keys: &BTreeMap<String, Value>) -> Keys<'_> {
    let pairs = keys
        .iter()
        .map(|(key, value)| (key.as_str(), value.clone()));
    pairs.collect()
}

#[test]
fn keys_that_a_family_does_not_have_are_refused_by_name() {
    for (family, key, value) in [
        ("smollm3", "attention.sliding_window", Value::U32(16)),
        ("qwen2", "attention.sliding_window", Value::U32(16)),
        ("qwen3", "rope.dimension_count", Value::U32(4)),
        ("granite", "rope.scaling.finetuned", Value::Bool(false)),
        ("granite", "attention.sliding_window", Value::U32(16)),
        ("smollm3", "logit_scale", Value::F32(2.0)),
        ("qwen2", "rope.scaling.yarn_log_multiplier", Value::F32(0.1)),
        ("llama", "attention.temperature_scale", Value::F32(0.1)),
    ] {
        let mut keys = as_family(family);
        if key.contains("yarn") {
            let yarn = Value::String("yarn".to_owned());
            keys.insert(format!("{family}.rope.scaling.type"), yarn);
            keys.insert(format!("{family}.rope.scaling.factor"), Value::F32(2.0));
        }
        keys.insert(format!("{family}.{key}"), value);
        let keys = borrowed(&keys);
        let message = open(&keys).unwrap_err().to_string();
        assert!(message.contains(&format!("{family}.{key}")), "{message}");
    }
    let keys = as_family("gemma3");
    let keys = borrowed(&keys);
    let message = open(&keys).unwrap_err().to_string();
    assert!(
        message.contains("`gemma3`") && message.contains("phi3"),
        "{message}"
    );
}

/// Granite's factors are 1, and the heads' root, where the file says nothing.
#[test]
fn granites_factors_have_llama_cpps_defaults() {
    let mut keys = as_family("granite");
    let factors = |keys: &BTreeMap<String, Value>| open(&borrowed(keys)).unwrap().config().factors;
    let silent = factors(&keys);
    let root = 1.0 / (WIDTH as f32).sqrt();
    let parts =
        |it: farthing_model::Factors| [it.embedding, it.residual, it.attention, it.logits_divisor];
    assert_eq!(parts(silent), [1.0, 1.0, root, 1.0]);
    for (key, value) in [
        ("embedding_scale", 12.0),
        ("residual_scale", 0.22),
        ("attention.scale", 0.015),
        ("logit_scale", 8.0),
    ] {
        keys.insert(format!("granite.{key}"), Value::F32(value));
    }
    assert_eq!(parts(factors(&keys)), [12.0, 0.22, 0.015, 8.0]);
}

/// A family's other tokens that end answers are found by their text.
#[test]
fn ends_of_answers_are_found_by_their_text() {
    let texts = [
        "a",
        "<|endoftext|>",
        "<|im_end|>",
        "<|end|>",
        "e",
        "<|eot_id|>",
        "g",
        "h",
    ];
    for (family, expected) in [
        ("qwen2", vec![1, 2, 4]),
        ("llama", vec![4, 5]),
        ("granite", vec![4, 5]),
    ] {
        let mut keys = as_family(family);
        let tokens = texts.map(|text| Value::String(text.to_owned())).to_vec();
        keys.insert("tokenizer.ggml.tokens".to_owned(), Value::Array(tokens));
        let keys = borrowed(&keys);
        let biases = [
            "blk.0.attn_q.bias",
            "blk.0.attn_k.bias",
            "blk.0.attn_v.bias",
        ];
        let more: &[&str] = if family == "qwen2" { &biases } else { &[] };
        let checkpoint = open_with(&keys, more).unwrap();
        assert_eq!(checkpoint.config().eos_token_ids, expected, "{family}");
    }
}

#[test]
fn the_files_output_layer_decides_whether_it_is_tied() {
    let tied = open(&byte_level()).unwrap();
    assert!(tied.config().tie_word_embeddings && !tied.contains("lm_head.weight"));
    let own = open_with(&byte_level(), &["output.weight"]).unwrap();
    assert!(!own.config().tie_word_embeddings && own.contains("lm_head.weight"));
}
