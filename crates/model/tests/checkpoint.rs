//! `Checkpoint` reads the same as gguf-py, transformers and torch; the fixtures are made by
//! `fixtures/make_checkpoints.py`.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a failed unwrap is a failed test"
)]

use std::{
    fs,
    path::{Path, PathBuf},
};

use farthing_model::{Checkpoint, GgufTokenizer, LoadFormat, ModelConfig, ModelError, RopeScaling};
use serde_json::{Value, json};
use tempfile::TempDir;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures")
        .join(name)
}

fn open(path: &Path) -> Result<Checkpoint, ModelError> {
    Checkpoint::open(path, LoadFormat::Auto, 0)
}

fn expected(directory: &str) -> Value {
    let text = fs::read_to_string(fixture(directory).join("expected.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

/// The fixture script's `weights`.
fn column_weight(column: usize) -> f64 {
    ((column * 7919 + 13) % 1009) as f64 / 512.0 - 504.0 / 512.0
}

fn height_and_width(checkpoint: &Checkpoint, name: &str) -> (usize, usize) {
    match *checkpoint.shape(name).unwrap() {
        [width] => (1, width),
        [height, width] => (height, width),
        ref shape => panic!("{name}: {shape:?}"),
    }
}

fn read(checkpoint: &Checkpoint, name: &str) -> Vec<f32> {
    let mut values = Vec::new();
    let (height, _) = height_and_width(checkpoint, name);
    checkpoint.read_rows(name, 0..height, &mut values).unwrap();
    values
}

fn assert_tensors(checkpoint: &Checkpoint, expected: &Value) {
    let tensors = expected["tensors"].as_object().unwrap();
    let names: Vec<_> = checkpoint
        .config()
        .tensor_shapes()
        .map(|(name, _)| name)
        .collect();
    assert_eq!(names.len(), tensors.len());
    for name in names {
        let (height, width) = height_and_width(checkpoint, &name);
        let values = read(checkpoint, &name);
        assert_eq!(values.len(), height * width, "{name}");
        let expected = &tensors[&name];
        if let Some(bits) = expected["first_row_bits"].as_array() {
            let found: Vec<_> = values[..width]
                .iter()
                .map(|value| json!(value.to_bits() as i32))
                .collect();
            assert_eq!(&found, bits, "{name}");
            continue;
        }
        let dots = expected["row_dots"].as_array().unwrap();
        assert_eq!(dots.len(), height, "{name}");
        for (row, (values, expected)) in values.chunks(width).zip(dots).enumerate() {
            let terms = (0..)
                .zip(values)
                .map(|(j, value)| f64::from(*value) * column_weight(j));
            let (dot, size) = terms.fold((0.0, 0.0), |(dot, size), term| {
                (dot + term, size + term.abs())
            });
            // Dequantisers may round each product once more or once less.
            let error = (dot - expected.as_f64().unwrap()).abs();
            assert!(
                error <= 2e-7 * size + 1e-12,
                "{name} row {row}: {dot} is not {expected}"
            );
        }
    }
}

#[test]
fn every_gguf_type_is_dequantised_like_gguf_py() {
    let checkpoint = open(&fixture("gguf/every_type.gguf")).unwrap();
    assert_tensors(&checkpoint, &expected("gguf"));
}

#[test]
fn gguf_metadata_makes_the_config() {
    let checkpoint = open(&fixture("gguf/every_type.gguf")).unwrap();
    let config = checkpoint.config();
    assert_eq!(config.head_dim, 4);
    assert_eq!(config.num_key_value_heads, 1);
    assert_eq!(config.bos_token_id, Some(4));
    // Llama 3's three, though the file names one.
    assert_eq!(config.eos_token_ids, [5, 6, 7]);
    assert!(!config.tie_word_embeddings);
    assert_eq!(config.rope.scaling, RopeScaling::Divisors(vec![1.0, 8.0]));
    let expected: Vec<f64> = serde_json::from_value(expected("gguf")["inv_freq"].clone()).unwrap();
    for (found, expected) in config.rope.inv_freq(0).into_iter().zip(expected) {
        assert!((f64::from(found) - expected).abs() <= 3e-7 * expected);
    }
}

#[test]
fn gguf_metadata_holds_the_tokenizer() {
    let checkpoint = open(&fixture("gguf/every_type.gguf")).unwrap();
    let strings = |list: &[&str]| list.iter().map(|text| text.to_string()).collect::<Vec<_>>();
    let expected = GgufTokenizer {
        model: "gpt2".into(),
        pre: Some("llama-bpe".into()),
        tokens: strings(&[
            "a",
            "b",
            "ab",
            "é",
            "<|begin_of_text|>",
            "<|end_of_text|>",
            "<|eom_id|>",
            "<|eot_id|>",
        ]),
        merges: strings(&["a b"]),
        scores: vec![],
        token_types: vec![1, 1, 1, 1, 3, 3, 3, 3],
        bos_token_id: Some(4),
        eos_token_id: Some(7),
        unknown_token_id: None,
        add_bos: Some(true),
        add_eos: None,
        add_space_prefix: None,
        chat_template: Some("{{ messages[0]['content'] }}".into()),
    };
    assert_eq!(checkpoint.gguf_tokenizer(), Some(&expected));
}

#[test]
fn safetensors_are_read_like_torch_reads_them() {
    for directory in ["sharded", "single"] {
        let checkpoint = open(&fixture(directory)).unwrap();
        assert_tensors(&checkpoint, &expected(directory));
        assert!(checkpoint.gguf_tokenizer().is_none());
    }
    let sharded = open(&fixture("sharded")).unwrap();
    assert!(sharded.contains("lm_head.weight"));
    assert_eq!(sharded.config().sliding_window, Some(5));
    assert_eq!(
        sharded.config().eos_token_ids,
        [2, 7],
        "generation_config.json wins"
    );
    let single = open(&fixture("single")).unwrap();
    assert!(!single.contains("lm_head.weight"));
}

#[test]
fn any_range_of_rows_equals_that_part_of_the_whole() {
    let dummy = |path: &Path| Checkpoint::open(path, LoadFormat::Dummy, 7).unwrap();
    for checkpoint in [
        open(&fixture("gguf/every_type.gguf")).unwrap(),
        open(&fixture("sharded")).unwrap(),
        dummy(&fixture("single")),
    ] {
        for (name, _) in checkpoint.config().tensor_shapes() {
            let (height, width) = height_and_width(&checkpoint, &name);
            let whole = read(&checkpoint, &name);
            for start in 0..=height {
                for end in [start, (start + 3).min(height), height] {
                    let mut part = vec![42.0];
                    checkpoint.read_rows(&name, start..end, &mut part).unwrap();
                    assert_eq!(part[0], 42.0, "appended, not replaced");
                    let bits = |values: &[f32]| values.iter().map(|v| v.to_bits()).collect();
                    let (part, whole): (Vec<_>, Vec<_>) =
                        (bits(&part[1..]), bits(&whole[start * width..end * width]));
                    assert_eq!(part, whole, "{name} {start}..{end}");
                }
            }
        }
        let name = "model.embed_tokens.weight";
        let (height, _) = height_and_width(&checkpoint, name);
        let error = checkpoint
            .read_rows(name, 0..height + 1, &mut Vec::new())
            .unwrap_err();
        assert!(
            matches!(error, ModelError::RowsOutOfRange { .. }),
            "{error}"
        );
        let error = checkpoint
            .read_rows("lm_tail.weight", 0..1, &mut Vec::new())
            .unwrap_err();
        assert!(matches!(error, ModelError::UnknownTensor(_)), "{error}");
    }
}

#[test]
fn dummy_weights_are_normal_and_follow_seed_name_and_row() {
    let config = json!({
        "architectures": ["LlamaForCausalLM"], "hidden_size": 513, "intermediate_size": 8,
        "num_hidden_layers": 1, "num_attention_heads": 1, "head_dim": 8, "vocab_size": 1024,
    });
    let config = ModelConfig::from_hf_json(&config).unwrap();
    let dummy = |seed| Checkpoint::dummy(config.clone(), seed);
    let (embedding, head) = ("model.embed_tokens.weight", "lm_head.weight");

    let values = read(&dummy(1), embedding);
    let n = values.len() as f64;
    let moment = |power: i32| {
        values
            .iter()
            .map(|v| f64::from(*v / 0.02).powi(power))
            .sum::<f64>()
            / n
    };
    assert!(moment(1).abs() < 0.01, "mean {}", moment(1));
    assert!((moment(2) - 1.0).abs() < 0.01, "variance {}", moment(2));
    // Kurtosis: 3 for a normal distribution, 1.8 for a uniform, 2.7 for the sum of four uniforms.
    assert!((moment(4) - 2.7).abs() < 0.05, "kurtosis {}", moment(4));

    let correlation = |other: &[f32]| {
        let products = values.iter().zip(other).map(|(a, b)| f64::from(a * b));
        products.sum::<f64>() / (0.02 * 0.02) / other.len() as f64
    };
    assert_eq!(read(&dummy(1), embedding), values);
    assert!(
        correlation(&read(&dummy(2), embedding)).abs() < 0.01,
        "seeds differ"
    );
    assert!(
        correlation(&read(&dummy(1), head)).abs() < 0.01,
        "names differ"
    );
    assert!(correlation(&values[513..]).abs() < 0.01, "rows differ");
    assert!(correlation(&values[1..]).abs() < 0.01, "columns differ");
    assert!(
        read(&dummy(1), "model.norm.weight")
            .iter()
            .all(|&value| value == 1.0)
    );
}

/// A copy of a fixture that a test may damage.
fn copy(name: &str) -> TempDir {
    let copy = TempDir::new().unwrap();
    for entry in fs::read_dir(fixture(name)).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), copy.path().join(entry.file_name())).unwrap();
    }
    copy
}

fn edit_json(path: &Path, edit: impl FnOnce(&mut Value)) {
    let mut value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
    edit(&mut value);
    fs::write(path, value.to_string()).unwrap();
}

fn message(path: &Path) -> String {
    open(path).unwrap_err().to_string()
}

#[test]
fn a_shape_that_the_config_does_not_call_for_is_told_with_both() {
    let directory = copy("single");
    edit_json(&directory.path().join("config.json"), |config| {
        config["vocab_size"] = json!(14)
    });
    let message = message(directory.path());
    for part in [
        "model.embed_tokens.weight",
        "[11, 12]",
        "[14, 12]",
        "model.safetensors",
    ] {
        assert!(message.contains(part), "{message}");
    }
}

#[test]
fn missing_files_and_tensors_are_named() {
    let directory = copy("sharded");
    fs::remove_file(directory.path().join("model-00002-of-00003.safetensors")).unwrap();
    assert!(message(directory.path()).contains("model-00002-of-00003.safetensors"));

    let directory = copy("single");
    edit_json(&directory.path().join("config.json"), |config| {
        config["tie_word_embeddings"] = json!(false);
    });
    assert!(message(directory.path()).contains("no tensor `lm_head.weight`"));

    // A config with one layer less leaves tensors over.
    let directory = copy("single");
    edit_json(&directory.path().join("config.json"), |config| {
        config["num_hidden_layers"] = json!(1);
    });
    let text = message(directory.path());
    assert!(
        text.contains("`model.layers.1.input_layernorm.weight`"),
        "{text}"
    );

    let directory = copy("single");
    fs::remove_file(directory.path().join("model.safetensors")).unwrap();
    assert!(message(directory.path()).contains("model.safetensors.index.json"));
    fs::remove_file(directory.path().join("config.json")).unwrap();
    assert!(message(directory.path()).contains("config.json"));
    assert!(message(Path::new("/nowhere/at/all.gguf")).contains("/nowhere/at/all.gguf"));
}

#[test]
fn an_index_that_points_elsewhere_is_refused() {
    for elsewhere in [
        "../single/model.safetensors",
        "/etc/passwd",
        "a/b.safetensors",
        "..",
        "",
    ] {
        let directory = copy("sharded");
        edit_json(
            &directory.path().join("model.safetensors.index.json"),
            |index| {
                index["weight_map"]["model.norm.weight"] = json!(elsewhere);
            },
        );
        let text = message(directory.path());
        assert!(
            text.contains("must lie beside the index"),
            "{elsewhere}: {text}"
        );
    }
}

#[test]
fn truncated_and_garbled_safetensors_are_told() {
    let directory = copy("single");
    let file = directory.path().join("model.safetensors");
    let whole = fs::read(&file).unwrap();
    for length in [0, 7, 8, 9, 100, 1000, whole.len() - 1] {
        fs::write(&file, &whole[..length]).unwrap();
        assert!(
            message(directory.path()).contains("incomplete"),
            "{length} bytes"
        );
    }
    fs::write(&file, [whole.as_slice(), b"x"].concat()).unwrap();
    assert!(message(directory.path()).contains("calls for"));
    fs::write(&file, [&u64::MAX.to_le_bytes()[..], &whole[8..]].concat()).unwrap();
    assert!(message(directory.path()).contains("not a safetensors file"));
    let mut garbled = whole.clone();
    garbled[20] = 0xFF;
    fs::write(&file, garbled).unwrap();
    assert!(message(directory.path()).contains("invalid header"));
}

#[test]
fn other_types_than_floats_are_refused_by_name() {
    let directory = copy("single");
    let file = directory.path().join("model.safetensors");
    let header_and_data = fs::read(&file).unwrap();
    // F32 and I32 have the same size, so only the name changes.
    let text = String::from_utf8_lossy(&header_and_data[8..])
        .find("\"F32\"")
        .unwrap();
    let mut edited = header_and_data;
    edited[8 + text..][..5].copy_from_slice(b"\"I32\"");
    fs::write(&file, edited).unwrap();
    let text = message(directory.path());
    assert!(
        text.contains("I32") && text.contains("F32, F16 and BF16"),
        "{text}"
    );
}

#[test]
fn a_gguf_cut_anywhere_or_with_any_byte_changed_never_panics() {
    let whole = fs::read(fixture("gguf/every_type.gguf")).unwrap();
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("damaged.gguf");
    // 24 bytes follow the last tensor; they are not needed.
    let needed = whole.len() - 24;
    for length in (0..needed).step_by(131).chain([needed - 1]) {
        fs::write(&path, &whole[..length]).unwrap();
        open(&path).unwrap_err();
    }
    fs::write(&path, &whole[..whole.len() - 40]).unwrap();
    assert!(message(&path).contains("incomplete"), "{}", message(&path));
    // The header ends before its 3,500th byte; not every changed byte makes an error.
    let mut errors = 0;
    for position in (0..3500).step_by(3) {
        let mut damaged = whole.clone();
        damaged[position] ^= 0xFF;
        fs::write(&path, damaged).unwrap();
        errors += usize::from(open(&path).is_err());
    }
    assert!(errors > 500, "{errors}");
}

#[test]
fn a_gguf_with_an_alignment_of_zero_is_refused() {
    // "GGUF", version 3, no tensors, one key-value pair: general.alignment, a u32, 0.
    let mut bytes = b"GGUF\x03\0\0\0".to_vec();
    bytes.extend(0_u64.to_le_bytes());
    bytes.extend(1_u64.to_le_bytes());
    bytes.extend(17_u64.to_le_bytes());
    bytes.extend(b"general.alignment\x04\0\0\0\0\0\0\0");
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("zero.gguf");
    fs::write(&path, bytes).unwrap();
    assert!(
        message(&path).contains("not a readable GGUF"),
        "{}",
        message(&path)
    );
}

/// In memory, metadata takes many times its size in the file. The file is sparse: zeros are empty
/// strings.
#[test]
fn a_gguf_with_a_huge_header_is_refused_unread() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("huge.gguf");
    let mut header = b"GGUF".to_vec();
    header.extend(3_u32.to_le_bytes());
    header.extend(0_u64.to_le_bytes()); // tensors
    header.extend(1_u64.to_le_bytes()); // keys
    header.extend(1_u64.to_le_bytes());
    header.push(b'k');
    header.extend(9_u32.to_le_bytes()); // an array
    header.extend(8_u32.to_le_bytes()); // of strings
    header.extend((1_u64 << 27).to_le_bytes());
    fs::write(&path, header).unwrap();
    let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
    file.set_len(2 << 30).unwrap();
    let message = message(&path);
    assert!(message.contains("remaining"), "{message}");
}

#[test]
fn a_gguf_of_another_architecture_is_refused_by_name() {
    let mut bytes = fs::read(fixture("gguf/every_type.gguf")).unwrap();
    let key = b"general.architecture";
    let start = bytes
        .windows(key.len())
        .position(|window| window == key)
        .unwrap();
    // The key is followed by a type (4 bytes) and a length (8).
    bytes[start + key.len() + 12..][..5].copy_from_slice(b"gemma");
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("gemma.gguf");
    fs::write(&path, bytes).unwrap();
    assert!(message(&path).contains("`gemma`"), "{}", message(&path));
}
