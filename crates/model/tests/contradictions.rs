//! Where a checkpoint's config and its file disagree, the file's weights count, or the model is refused
//! with the cause.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a failed unwrap is a failed test"
)]

use std::{collections::HashMap, fs, path::Path};

use farthing_model::{Checkpoint, LoadFormat, ModelConfig, ModelError};
use safetensors::{Dtype, tensor::TensorView};
use serde_json::{Value, json};
use tempfile::TempDir;

const EMBEDDING: &str = "model.embed_tokens.weight";
const LM_HEAD: &str = "lm_head.weight";
const ROTARY: &str = "model.layers.0.self_attn.rotary_emb.inv_freq";

fn config(is_tied: bool) -> Value {
    json!({
        "architectures": ["LlamaForCausalLM"], "hidden_size": 8, "intermediate_size": 8,
        "num_hidden_layers": 1, "num_attention_heads": 1, "head_dim": 8, "vocab_size": 300,
        "tie_word_embeddings": is_tied, "rope_theta": 10000.0,
    })
}

type Tensors = HashMap<String, (Vec<usize>, Vec<f32>)>;

/// All tensors of the model, each with values of its own, and an output layer.
fn tensors() -> Tensors {
    let config = ModelConfig::from_hf_json(&config(false)).unwrap();
    let random = Checkpoint::dummy(config.clone(), 1);
    let read = |(name, shape): (String, Vec<usize>)| {
        let rows = if shape.len() == 1 { 1 } else { shape[0] };
        let mut values = Vec::new();
        random.read_rows(&name, 0..rows, &mut values).unwrap();
        (name, (shape, values))
    };
    config.tensor_shapes().map(read).collect()
}

fn write(path: &Path, tensors: &Tensors) {
    let bytes: HashMap<_, Vec<u8>> = tensors
        .iter()
        .map(|(name, (_, values))| (name, values.iter().flat_map(|v| v.to_le_bytes()).collect()))
        .collect();
    let views = tensors.iter().map(|(name, (shape, _))| {
        let view = TensorView::new(Dtype::F32, shape.clone(), &bytes[name]).unwrap();
        (name.clone(), view)
    });
    fs::write(path, safetensors::serialize(views, None).unwrap()).unwrap();
}

fn open(config: &Value, tensors: &Tensors) -> Result<Checkpoint, ModelError> {
    let directory = TempDir::new().unwrap();
    fs::write(directory.path().join("config.json"), config.to_string()).unwrap();
    write(&directory.path().join("model.safetensors"), tensors);
    Checkpoint::open(directory.path(), LoadFormat::Auto, 0)
}

fn rows(checkpoint: &Checkpoint, name: &str) -> Vec<f32> {
    let mut values = Vec::new();
    checkpoint.read_rows(name, 0..300, &mut values).unwrap();
    values
}

#[test]
fn another_output_layer_in_the_file_is_used_though_the_config_says_tied() {
    let mut tensors = tensors();
    // The difference may be in the last row alone.
    let mut head = tensors[EMBEDDING].clone();
    *head.1.last_mut().unwrap() += 1.0;
    tensors.insert(LM_HEAD.to_owned(), head.clone());
    let checkpoint = open(&config(true), &tensors).unwrap();
    assert!(!checkpoint.config().tie_word_embeddings);
    assert_eq!(rows(&checkpoint, LM_HEAD), head.1);
    let [warning] = checkpoint.warnings() else {
        panic!("{:?}", checkpoint.warnings());
    };
    assert!(warning.contains("tie_word_embeddings") && warning.contains(LM_HEAD));
}

#[test]
fn a_copy_of_the_embedding_stays_tied() {
    let mut tensors = tensors();
    tensors.insert(LM_HEAD.to_owned(), tensors[EMBEDDING].clone());
    let checkpoint = open(&config(true), &tensors).unwrap();
    assert!(checkpoint.config().tie_word_embeddings);
    assert!(!checkpoint.contains(LM_HEAD));
    assert!(checkpoint.warnings().is_empty());
    // The config is right here: two layers that are equal, and could be trained apart.
    let checkpoint = open(&config(false), &tensors).unwrap();
    assert!(checkpoint.contains(LM_HEAD) && checkpoint.warnings().is_empty());
}

#[test]
fn either_one_of_a_tied_pair_is_enough() {
    for kept in [EMBEDDING, LM_HEAD] {
        let mut tensors = tensors();
        let values = tensors[kept].1.clone();
        let other = [EMBEDDING, LM_HEAD].into_iter().find(|name| *name != kept);
        tensors.remove(other.unwrap());
        let checkpoint = open(&config(true), &tensors).unwrap();
        assert!(checkpoint.config().tie_word_embeddings);
        assert_eq!(rows(&checkpoint, EMBEDDING), values, "{kept}");
        assert!(checkpoint.warnings().is_empty());
    }
}

#[test]
fn a_missing_output_layer_is_refused_if_the_config_says_untied() {
    let mut tensors = tensors();
    tensors.remove(LM_HEAD);
    let message = open(&config(false), &tensors).unwrap_err().to_string();
    assert!(message.contains("no tensor `lm_head.weight`"), "{message}");
}

#[test]
fn stored_rotary_frequencies_that_contradict_the_config_are_told_once() {
    let frequencies = |theta: f32| {
        let values = (0..4).map(|pair| theta.powf(-(pair as f32) / 4.0));
        (vec![4], values.collect::<Vec<_>>())
    };
    let open = |theta: f32, config: &Value| {
        let mut tensors = tensors();
        tensors.insert(ROTARY.to_owned(), frequencies(theta));
        let other_layer = "model.rotary_emb.inv_freq".to_owned();
        tensors.insert(other_layer, frequencies(theta));
        open(config, &tensors).unwrap().warnings().to_vec()
    };
    assert!(open(10_000.0, &config(false)).is_empty());
    // Scaled positions: the frequencies are stored before that.
    let mut scaled = config(false);
    scaled["rope_scaling"] = json!({"type": "linear", "factor": 4.0});
    assert!(open(10_000.0, &scaled).is_empty());
    let warnings = open(1_000_000.0, &config(false));
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(warnings[0].contains("rope_theta") && warnings[0].contains(ROTARY));
    let shorter = (vec![2], vec![1.0, 0.1]);
    let mut tensors = tensors();
    tensors.insert(ROTARY.to_owned(), shorter);
    let checkpoint = self::open(&config(false), &tensors).unwrap();
    assert_eq!(checkpoint.warnings().len(), 1);
}

#[test]
fn a_tensor_in_two_shards_is_refused() {
    let directory = TempDir::new().unwrap();
    let path = |name: &str| directory.path().join(name);
    fs::write(path("config.json"), config(false).to_string()).unwrap();
    let all = tensors();
    let norm = "model.norm.weight".to_owned();
    let again = HashMap::from([(norm.clone(), all[&norm].clone())]);
    write(&path("a.safetensors"), &all);
    write(&path("b.safetensors"), &again);
    let index = json!({"weight_map": {EMBEDDING: "a.safetensors", norm: "b.safetensors"}});
    fs::write(path("model.safetensors.index.json"), index.to_string()).unwrap();
    let message = Checkpoint::open(directory.path(), LoadFormat::Auto, 0)
        .unwrap_err()
        .to_string();
    for part in ["`model.norm.weight`", "a.safetensors", "b.safetensors"] {
        assert!(message.contains(part), "{message}");
    }
}
