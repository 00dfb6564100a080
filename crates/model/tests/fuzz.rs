//! No file of a model or an adapter makes the loader panic, or takes much more memory than its size.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::{Path, PathBuf};

use farthing_fuzz::{
    Campaign, Random, mutate_bytes, mutate_json, mutate_json_value, mutate_lengths,
};
use farthing_model::{Checkpoint, ComputeType, DeviceKind, LoadFormat, LoraAdapter, LoraBase};

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures")
        .join(name)
}

/// Opens a checkpoint and, if that works, reads all of it.
fn read_all(path: &Path) {
    let Ok(checkpoint) = Checkpoint::open(path, LoadFormat::Auto, 0) else {
        return;
    };
    let names: Vec<_> = checkpoint.config().tensor_shapes().collect();
    let mut values = Vec::new();
    for (name, shape) in names {
        let height = if shape.len() == 1 { 1 } else { shape[0] };
        values.clear();
        let _ = checkpoint.read_rows(&name, 0..height, &mut values);
    }
}

/// A length, a JSON header, data: faults in each, and with the right length or a wrong one.
fn mutate_safetensors(random: &mut Random, seed: &[u8]) -> Vec<u8> {
    let (length, rest) = seed.split_first_chunk::<8>().unwrap();
    let (header, data) = rest.split_at(u64::from_le_bytes(*length) as usize);
    match random.below(4) {
        0 => mutate_bytes(random, seed),
        1 => mutate_lengths(random, seed, 8),
        _ => {
            let mut header: serde_json::Value = serde_json::from_slice(header).unwrap();
            let names = [
                "dtype",
                "shape",
                "data_offsets",
                "__metadata__",
                "F32",
                "BF16",
            ];
            mutate_json_value(random, &mut header, &names);
            let header = header.to_string();
            let length = (header.len() as u64).to_le_bytes();
            let end = if random.one_in(4) {
                random.below(data.len())
            } else {
                data.len()
            };
            [&length, header.as_bytes(), &data[..end]].concat()
        }
    }
}

#[test]
fn gguf() {
    let seed = fs::read(fixture("gguf/every_type.gguf")).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("model.gguf");
    Campaign::new("gguf", 1_500).run(
        |random| match random.below(3) {
            0 => mutate_bytes(random, &seed),
            // Counts and lengths of the header, then of the metadata.
            1 => mutate_lengths(random, &seed, 32),
            _ => mutate_lengths(random, &seed, 8_000),
        },
        |input| {
            fs::write(&path, input).unwrap();
            read_all(&path);
        },
    );
}

#[test]
fn safetensors() {
    let seed = fs::read(fixture("single/model.safetensors")).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let config = fixture("single/config.json");
    fs::copy(config, directory.path().join("config.json")).unwrap();
    Campaign::new("safetensors", 2_000).run(
        |random| mutate_safetensors(random, &seed),
        |input| {
            fs::write(directory.path().join("model.safetensors"), input).unwrap();
            read_all(directory.path());
        },
    );
}

#[test]
fn model_config() {
    let names = [
        "num_hidden_layers",
        "num_attention_heads",
        "num_key_value_heads",
        "hidden_size",
        "head_dim",
        "intermediate_size",
        "vocab_size",
        "rope_scaling",
        "rope_theta",
        "rope_type",
        "factor",
        "architectures",
        "sliding_window",
        "tie_word_embeddings",
        "max_position_embeddings",
        "eos_token_id",
        "rms_norm_eps",
        "torch_dtype",
        "quantization_config",
    ];
    let seed = fs::read_to_string(fixture("single/config.json")).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let weights = fixture("single/model.safetensors");
    fs::copy(weights, directory.path().join("model.safetensors")).unwrap();
    Campaign::new("model_config", 3_000).run(
        |random| mutate_json(random, &seed, &names),
        |input| {
            fs::write(directory.path().join("config.json"), input).unwrap();
            read_all(directory.path());
        },
    );
}

struct AdapterFiles {
    checkpoint: Checkpoint,
    config: String,
    weights: Vec<u8>,
    directory: tempfile::TempDir,
}

impl AdapterFiles {
    fn new() -> Self {
        let parity = fixture("parity");
        let adapter = parity.join("adapters/llama_gqa_tied/rank_4");
        let model = parity.join("models/llama_gqa_tied");
        Self {
            checkpoint: Checkpoint::open(&model, LoadFormat::Auto, 0).unwrap(),
            config: fs::read_to_string(adapter.join("adapter_config.json")).unwrap(),
            weights: fs::read(adapter.join("adapter_model.safetensors")).unwrap(),
            directory: tempfile::tempdir().unwrap(),
        }
    }

    fn load(&self, config: &[u8], weights: &[u8]) -> bool {
        let directory = self.directory.path();
        fs::write(directory.join("adapter_config.json"), config).unwrap();
        fs::write(directory.join("adapter_model.safetensors"), weights).unwrap();
        let base = LoraBase {
            checkpoint: &self.checkpoint,
            compute_type: ComputeType::F32,
            device: DeviceKind::Cpu,
        };
        LoraAdapter::load(directory, base).is_ok()
    }
}

#[test]
fn adapter_config() {
    let files = AdapterFiles::new();
    assert!(files.load(files.config.as_bytes(), &files.weights));
    let names = [
        "r",
        "lora_alpha",
        "rank_pattern",
        "alpha_pattern",
        "target_modules",
        "exclude_modules",
        "layers_to_transform",
        "layers_pattern",
        "modules_to_save",
        "use_dora",
        "use_rslora",
        "bias",
        "lora_bias",
        "peft_type",
        "init_lora_weights",
        "fan_in_fan_out",
        "trainable_token_indices",
        ".*",
        "(a+)+b",
        "task_type",
    ];
    Campaign::new("adapter_config", 2_000).run(
        |random| mutate_json(random, &files.config, &names),
        |input| _ = files.load(input, &files.weights),
    );
}

#[test]
fn adapter_weights() {
    let files = AdapterFiles::new();
    Campaign::new("adapter_weights", 1_000).run(
        |random| mutate_safetensors(random, &files.weights),
        |input| _ = files.load(files.config.as_bytes(), input),
    );
}
