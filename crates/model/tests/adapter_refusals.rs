//! An adapter that cannot be served exactly as PEFT computes it is rejected with an error that
//! names the reason and says what to do. Settings that change no answer are accepted.
#![allow(clippy::unwrap_used, clippy::panic, unreachable_pub)]

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use farthing_model::{
    AdapterReport, Checkpoint, ComputeType, DeviceKind, LoadFormat, LoraAdapter, LoraBase,
    ModelError,
};
use safetensors::{Dtype, SafeTensors, tensor::TensorView};
use serde_json::{Map, Value, json};
use tempfile::TempDir;

const BASE: &str = "llama_gqa_tied";

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/parity")
}

fn load_on(base: &str, directory: &Path) -> Result<LoraAdapter, ModelError> {
    let path = fixtures().join("models").join(base);
    let checkpoint = Checkpoint::open(&path, LoadFormat::Auto, 0).unwrap();
    let base = LoraBase {
        checkpoint: &checkpoint,
        compute_type: ComputeType::F32,
        device: DeviceKind::Cpu,
    };
    LoraAdapter::load(directory, base)
}

/// A valid adapter of rank 4 on all linear layers, to be modified.
struct Adapter {
    config: Map<String, Value>,
    /// Shapes and elements.
    tensors: BTreeMap<String, (Vec<usize>, Vec<f32>)>,
}

impl Adapter {
    fn sound() -> Self {
        let directory = fixtures().join("adapters").join(BASE).join("rank_4");
        let config = fs::read(directory.join("adapter_config.json")).unwrap();
        let weights = fs::read(directory.join("adapter_model.safetensors")).unwrap();
        let tensors = SafeTensors::deserialize(&weights).unwrap();
        let tensors = tensors.iter().map(|(name, view)| {
            let (elements, _) = view.data().as_chunks::<4>();
            let elements = elements.iter().map(|it| f32::from_le_bytes(*it)).collect();
            (name.to_owned(), (view.shape().to_vec(), elements))
        });
        Self {
            config: serde_json::from_slice(&config).unwrap(),
            tensors: tensors.collect(),
        }
    }

    fn with(name: &str, value: Value) -> Self {
        let mut adapter = Self::sound();
        adapter.config.insert(name.to_owned(), value);
        adapter
    }

    fn write(&self) -> TempDir {
        let directory = tempfile::tempdir().unwrap();
        let config = serde_json::to_vec(&self.config).unwrap();
        fs::write(directory.path().join("adapter_config.json"), config).unwrap();
        let bytes: BTreeMap<_, _> = self
            .tensors
            .iter()
            .map(|(name, (shape, elements))| {
                let bytes: Vec<u8> = elements.iter().flat_map(|it| it.to_le_bytes()).collect();
                (name.clone(), (shape.clone(), bytes))
            })
            .collect();
        let views = bytes.iter().map(|(name, (shape, bytes))| {
            let view = TensorView::new(Dtype::F32, shape.clone(), bytes).unwrap();
            (name.clone(), view)
        });
        let weights = safetensors::serialize(views, None).unwrap();
        fs::write(directory.path().join("adapter_model.safetensors"), weights).unwrap();
        directory
    }

    fn loads(&self) {
        let directory = self.write();
        if let Err(error) = load_on(BASE, directory.path()) {
            panic!("{:?}: {error}", self.config);
        }
    }

    /// Rejected with all these words, also by the report, with a base model and without.
    fn is_refused(&self, words: &[&str]) {
        let directory = self.write();
        refused(load_on(BASE, directory.path()), words);
        let report = AdapterReport::read(directory.path(), None).unwrap();
        let refusal = report.refusal.expect("a refusal without a base");
        assert!(words.iter().all(|word| refusal.contains(word)), "{refusal}");
    }

    fn first_tensor(&mut self) -> &mut Vec<f32> {
        &mut self.tensors.values_mut().next().unwrap().1
    }
}

fn refused(loaded: Result<LoraAdapter, ModelError>, words: &[&str]) {
    let message = match loaded {
        Ok(_) => panic!("loaded, where {words:?} was to be said"),
        Err(error) => error.to_string(),
    };
    for word in words {
        assert!(message.contains(word), "{word:?} is not said: {message}");
    }
}

#[test]
fn what_is_sound_loads() {
    Adapter::sound().loads();
}

#[test]
fn fields_without_effect_pass() {
    for (name, value) in [
        ("lora_dropout", json!(0.1)),
        ("fan_in_fan_out", json!(true)),
        ("inference_mode", json!(false)),
        ("revision", json!("main")),
        ("qalora_group_size", json!(32)),
        ("loftq_config", json!({"loftq_bits": 4})),
        ("eva_config", json!({"rho": 2.0})),
        ("init_lora_weights", json!("gaussian")),
        ("init_lora_weights", json!("eva")),
        ("init_lora_weights", json!("orthogonal")),
        ("init_lora_weights", json!("mica")),
        ("init_lora_weights", json!(false)),
        ("bias", json!("all")),
        ("bias", json!("lora_only")),
        ("modules_to_save", json!(["score", "classifier"])),
        ("ensure_weight_tying", json!(true)),
        ("task_type", json!(null)),
        ("a_field_of_the_future", json!(null)),
        ("another", json!([])),
    ] {
        Adapter::with(name, value).loads();
    }
}

#[test]
fn fields_with_an_effect_are_refused_by_name() {
    for (name, value) in [
        ("trainable_token_indices", json!([3, 5])),
        ("layer_replication", json!([[0, 2], [1, 3]])),
        ("alora_invocation_tokens", json!([7])),
        ("use_qalora", json!(true)),
        ("target_parameters", json!(["experts.down_proj"])),
        ("megatron_config", json!({"hidden_size": 1})),
        ("arrow_config", json!({"top_k": 3})),
        ("kasa_config", json!({"beta": 1e-4})),
        ("monteclora_config", json!({"num_samples": 8})),
        ("use_bdlora", json!({"nblocks": 2})),
        ("a_field_of_the_future", json!(1)),
    ] {
        Adapter::with(name, value).is_refused(&[name, "change the answers"]);
    }
}

#[test]
fn what_changed_the_base_is_refused_with_the_way_back() {
    for method in [
        "pissa",
        "pissa_niter_16",
        "olora",
        "OLoRA",
        "corda",
        "lora_ga",
    ] {
        let adapter = Adapter::with("init_lora_weights", json!(method));
        adapter.is_refused(&[method, "path_initial_model_for_weight_conversion"]);
    }
    let adapter = Adapter::with("init_lora_weights", json!("loftq"));
    adapter.is_refused(&["loftq", "merge_and_unload"]);
    let adapter = Adapter::with("init_lora_weights", json!("of_the_future"));
    adapter.is_refused(&["init_lora_weights", "of_the_future"]);
}

#[test]
fn other_kinds_are_refused_with_what_to_do() {
    for kind in ["IA3", "LOHA", "ADALORA", "VERA"] {
        let adapter = Adapter::with("peft_type", json!(kind));
        adapter.is_refused(&[kind, "save_as_lora", "merge_and_unload"]);
    }
    for kind in ["PROMPT_TUNING", "PREFIX_TUNING", "P_TUNING"] {
        let adapter = Adapter::with("peft_type", json!(kind));
        adapter.is_refused(&[kind, "train a LoRA"]);
    }
    Adapter::with("task_type", json!("SEQ_CLS")).is_refused(&["task_type SEQ_CLS"]);
}

#[test]
fn impossible_fields_are_refused_by_name() {
    for (name, value) in [
        ("r", json!(0)),
        ("r", json!("8")),
        ("lora_alpha", json!(null)),
        ("use_dora", json!("yes")),
        ("bias", json!("sometimes")),
        ("rank_pattern", json!({"q_proj": 0})),
        ("rank_pattern", json!({"(q_proj": 2})),
        ("alpha_pattern", json!(["q_proj"])),
        ("target_modules", json!("(q_proj")),
        ("target_modules", json!(7)),
        ("exclude_modules", json!({"a": 1})),
        ("layers_to_transform", json!("one")),
        ("layers_pattern", json!("layers")),
    ] {
        Adapter::with(name, value).is_refused(&[name]);
    }
    let mut adapter = Adapter::with("target_modules", json!("all-linear"));
    adapter
        .config
        .insert("layers_to_transform".to_owned(), json!([1]));
    adapter.is_refused(&["layers_to_transform", "target_modules"]);
}

#[test]
fn an_expression_that_never_ends_is_refused() {
    let endless = "(.*)*(.*)*(.*)*(.*)*(.*)*\\1!";
    Adapter::with("target_modules", json!(endless)).is_refused(&[endless]);
}

#[test]
fn other_modules_than_the_two_ends_are_not_replaced() {
    for name in ["norm", "input_layernorm", "self_attn", "mlp.up_proj"] {
        let directory = Adapter::with("modules_to_save", json!([name])).write();
        refused(load_on(BASE, directory.path()), &["modules_to_save", name]);
    }
}

#[test]
fn config_and_tensors_must_agree() {
    // By PEFT's defaults these are not targets.
    Adapter::with("target_modules", json!(null)).is_refused(&["mlp.down_proj", "has no place"]);
    Adapter::with("target_modules", json!(["q_proj"])).is_refused(&["has no place"]);
    Adapter::with("exclude_modules", json!(["k_proj"])).is_refused(&["k_proj", "has no place"]);
    Adapter::with("r", json!(5)).is_refused(&["5"]);

    let mut adapter = Adapter::sound();
    let (lost, _) = adapter.tensors.pop_last().unwrap();
    let directory = adapter.write();
    refused(
        load_on(BASE, directory.path()),
        &[&lost, "saved incompletely"],
    );

    // DoRA without its magnitudes.
    let directory = Adapter::with("use_dora", json!(true)).write();
    let words = ["q_proj.lora_magnitude_vector", "saved incompletely"];
    refused(load_on(BASE, directory.path()), &words);

    let mut adapter = Adapter::sound();
    let (_, tensor) = adapter.tensors.first_key_value().unwrap();
    let stray = tensor.clone();
    adapter
        .tensors
        .insert("base_model.model.score.weight".to_owned(), stray.clone());
    let directory = adapter.write();
    refused(
        load_on(BASE, directory.path()),
        &["score.weight", "has no place"],
    );

    let mut adapter = Adapter::sound();
    adapter
        .tensors
        .insert("q_proj.lora_A.weight".to_owned(), stray);
    refused(
        load_on(BASE, adapter.write().path()),
        &["q_proj.lora_A.weight", "named"],
    );
}

#[test]
fn what_is_not_finite_is_refused_by_its_place() {
    for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let mut adapter = Adapter::sound();
        adapter.first_tensor()[5] = value;
        let name = adapter.tensors.keys().next().unwrap().clone();
        adapter.is_refused(&[&name, "element 5", "diverged"]);
    }
}

#[test]
fn a_scale_that_makes_weights_infinite_is_refused() {
    for alpha in [1e308, 1e39, 1e38] {
        let mut adapter = Adapter::with("lora_alpha", alpha.into());
        for (_, elements) in adapter.tensors.values_mut() {
            elements.fill(100.0);
        }
        let words = ["not finite", "lora_alpha", "q_proj"];
        refused(load_on(BASE, adapter.write().path()), &words);
    }
}

#[test]
fn files_without_bound_are_refused_unread() {
    let directory = Adapter::sound().write();
    let weights = directory.path().join("adapter_model.safetensors");
    fs::File::create(&weights)
        .unwrap()
        .set_len(1 << 40)
        .unwrap();
    refused(load_on(BASE, directory.path()), &["more than the limit"]);
    fs::remove_file(&weights).unwrap();
    std::os::unix::fs::symlink("/dev/zero", &weights).unwrap();
    refused(load_on(BASE, directory.path()), &["not a regular file"]);

    let patterns: Map<String, Value> = (0..50_000).map(|i| (format!("m{i}.x"), 4.into())).collect();
    Adapter::with("rank_pattern", patterns.into()).is_refused(&["rank_pattern", "50000 patterns"]);
}

#[test]
fn an_adapter_of_another_base_is_refused() {
    let of_llama = fixtures().join("adapters").join(BASE).join("rank_4");
    // A base of two layers under an adapter of three.
    refused(
        load_on("mistral_short_window", &of_llama),
        &["model.layers.2.", "has no place"],
    );
    // A base with more key heads.
    refused(
        load_on("llama_mha_untied", &of_llama),
        &["k_proj.lora_B", "[32, 4]"],
    );
}

#[test]
fn files_that_are_missing_or_broken_are_refused() {
    let model = fixtures().join("models").join(BASE);
    refused(load_on(BASE, &model), &["adapter_config.json"]);

    let directory = Adapter::sound().write();
    let weights = directory.path().join("adapter_model.safetensors");
    let bytes = fs::read(&weights).unwrap();
    for length in [0, 7, 100, bytes.len() / 2, bytes.len() - 1] {
        fs::write(&weights, &bytes[..length]).unwrap();
        refused(load_on(BASE, directory.path()), &["truncated"]);
    }
    fs::write(&weights, b"a page of HTML that was downloaded instead").unwrap();
    refused(load_on(BASE, directory.path()), &["not a safetensors file"]);

    fs::rename(&weights, directory.path().join("adapter_model.bin")).unwrap();
    refused(
        load_on(BASE, directory.path()),
        &["adapter_model.bin", "pickle", "safetensors"],
    );

    fs::write(directory.path().join("adapter_config.json"), "{").unwrap();
    fs::write(&weights, &bytes).unwrap();
    refused(load_on(BASE, directory.path()), &["adapter_config.json"]);
}

#[test]
fn a_report_tells_what_an_adapter_is() {
    let kinds = fixtures().join("kinds/untied");
    let report = AdapterReport::read(&kinds.join("dora_embeddings"), None).unwrap();
    assert_eq!((report.kind.as_str(), report.refusal), ("rsDoRA", None));
    assert_eq!(report.ranks.into_iter().collect::<Vec<_>>(), [3]);
    assert_eq!(report.scales, [(6.0 / 3.0_f64.sqrt()) as f32]);
    let targets: Vec<_> = report
        .targets
        .iter()
        .map(|(name, count)| (&**name, *count))
        .collect();
    let each_layer = [
        ("embed_tokens", 1),
        ("lm_head", 1),
        ("o_proj", 2),
        ("q_proj", 2),
        ("up_proj", 2),
    ];
    assert_eq!(targets, each_layer);
    assert_eq!(report.layers.into_iter().collect::<Vec<_>>(), [0, 1]);
    assert_eq!(report.base_model.as_deref(), Some("untied"));

    let report = AdapterReport::read(&kinds.join("patterns"), None).unwrap();
    assert_eq!(report.kind, "LoRA");
    assert_eq!(report.ranks.into_iter().collect::<Vec<_>>(), [3, 4, 6]);

    // A base model of another size. The files are valid by themselves.
    let path = fixtures().join("models").join(BASE);
    let checkpoint = Checkpoint::open(&path, LoadFormat::Auto, 0).unwrap();
    let base = LoraBase {
        checkpoint: &checkpoint,
        compute_type: ComputeType::F32,
        device: DeviceKind::Cpu,
    };
    let report = AdapterReport::read(&kinds.join("patterns"), Some(base)).unwrap();
    assert!(report.refusal.unwrap().contains("shape"));
}
