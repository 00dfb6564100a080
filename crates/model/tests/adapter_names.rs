//! An adapter is the same under every tool's names, and one that would do nothing is not served
//! without a word.
#![allow(clippy::unwrap_used, clippy::panic, unreachable_pub)]

mod served;

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use farthing_model::{
    AdapterReport, Checkpoint, ComputeType, DeviceKind, LoadFormat, LoraAdapter, LoraBase,
};
use safetensors::{Dtype, SafeTensors, tensor::TensorView};
use serde_json::{Value, json};
use served::{Fixture, Room, Told, logits, max_difference, runner};
use tempfile::TempDir;

const TOLERANCE: f32 = 1e-3;
const ROOM: Room = Room {
    num_blocks: 32,
    max_num_batched_tokens: 128,
};

fn kinds(base: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/fixtures/parity/kinds/{base}"))
}

/// A fixture's files, to be changed.
struct Adapter {
    base: &'static str,
    config: Value,
    tensors: BTreeMap<String, (Dtype, Vec<usize>, Vec<u8>)>,
}

impl Adapter {
    fn read(base: &'static str, name: &str) -> Self {
        let directory = kinds(base).join(name);
        let config = fs::read(directory.join("adapter_config.json")).unwrap();
        let weights = fs::read(directory.join("adapter_model.safetensors")).unwrap();
        let tensors = SafeTensors::deserialize(&weights).unwrap();
        let tensors = tensors.iter().map(|(name, view)| {
            let stored = (view.dtype(), view.shape().to_vec(), view.data().to_vec());
            (name.to_owned(), stored)
        });
        Self {
            base,
            config: serde_json::from_slice(&config).unwrap(),
            tensors: tensors.collect(),
        }
    }

    fn renamed(mut self, rename: impl Fn(&str) -> String) -> Self {
        let tensors = std::mem::take(&mut self.tensors).into_iter();
        self.tensors = tensors.map(|(name, it)| (rename(&name), it)).collect();
        self
    }

    fn with(mut self, field: &str, value: Value) -> Self {
        self.config[field] = value;
        self
    }

    fn write(&self) -> TempDir {
        let directory = tempfile::tempdir().unwrap();
        let config = serde_json::to_vec(&self.config).unwrap();
        fs::write(directory.path().join("adapter_config.json"), config).unwrap();
        let views = self.tensors.iter().map(|(name, (dtype, shape, bytes))| {
            (name, TensorView::new(*dtype, shape.clone(), bytes).unwrap())
        });
        let weights = safetensors::serialize(views, None).unwrap();
        fs::write(directory.path().join("adapter_model.safetensors"), weights).unwrap();
        directory
    }

    fn load(&self) -> Result<LoraAdapter, String> {
        let directory = self.write();
        let path = kinds(self.base).join("base");
        let checkpoint = Checkpoint::open(&path, LoadFormat::Auto, 0).unwrap();
        let base = LoraBase {
            checkpoint: &checkpoint,
            compute_type: ComputeType::F32,
            device: DeviceKind::Cpu,
        };
        LoraAdapter::load(directory.path(), base).map_err(|error| error.to_string())
    }

    /// Its logits are those that PEFT computed for the adapter `original`.
    fn equals(&self, original: &str, what: &str) {
        let adapter = self
            .load()
            .unwrap_or_else(|error| panic!("{what}: {error}"));
        let expected = Fixture::read(&kinds(self.base).join("expected.safetensors"));
        let mut runner = runner(&kinds(self.base).join("base"), ROOM);
        let prompt = Told {
            tokens: expected.tokens("prompt.0"),
            adapter: Some(adapter.id()),
        };
        runner.add_adapter(adapter);
        let found = logits(&mut runner, &[prompt], 64);
        let difference = max_difference(&found[0], &expected.rows(&format!("{original}.0")));
        assert!(difference <= TOLERANCE, "{what}: off by {difference}");
    }

    fn refusal(&self) -> String {
        match self.load() {
            Ok(_) => panic!("{:?} loads", self.config),
            Err(reason) => reason,
        }
    }
}

type Renaming<'a> = &'a dyn Fn(&str) -> String;

/// The adapter's name after each part that a state dict has it after.
fn with_adapter_name(name: &str, adapter: &str) -> String {
    let mut name = name.to_owned();
    for part in [
        "lora_A",
        "lora_B",
        "lora_embedding_A",
        "lora_embedding_B",
        "lora_magnitude_vector",
    ] {
        name = name.replace(part, &format!("{part}.{adapter}"));
    }
    name
}

#[test]
fn an_adapter_is_the_same_under_every_tools_names() {
    let prefix = "base_model.model.";
    for original in ["dora_embeddings", "patterns"] {
        let renamings: [(&str, Renaming<'_>); 6] = [
            ("a state dict", &|name| with_adapter_name(name, "default")),
            ("an adapter with a name", &|name| {
                with_adapter_name(name, "policy")
            }),
            ("without PEFT's prefix", &|name| name.replace(prefix, "")),
            ("compiled", &|name| {
                name.replace(prefix, "base_model.model._orig_mod.")
            }),
            ("sharded", &|name| {
                name.replace("self_attn", "_fsdp_wrapped_module.self_attn")
            }),
            ("in parallel", &|name| format!("module.{name}")),
        ];
        for (what, rename) in renamings {
            let adapter = Adapter::read("untied", original).renamed(rename);
            adapter.equals(original, what);
        }
    }
}

#[test]
fn saved_modules_are_found_in_a_state_dict() {
    let original = "saved_lm_head";
    let adapter = Adapter::read("tied", original).renamed(|name| {
        with_adapter_name(name, "default")
            .replace("lm_head.weight", "lm_head.modules_to_save.default.weight")
    });
    assert!(
        adapter
            .tensors
            .keys()
            .any(|name| name.contains("modules_to_save"))
    );
    adapter.equals(original, "a state dict");
}

/// The config's patterns mean the names of the trained model.
#[test]
fn patterns_are_matched_with_the_trained_names() {
    let targets = r".*language_model\.(layers\.\d+\.(self_attn|mlp)\..*_proj)";
    let inside =
        |name: &str| name.replace("model.model.layers", "model.model.language_model.layers");
    let original = Adapter::read("untied", "dora");
    let names: Vec<String> = original.tensors.keys().map(|name| inside(name)).collect();
    assert!(names.iter().all(|name| name.contains("language_model")));
    let listed = original.config["target_modules"].as_array().unwrap();
    let listed: Vec<&str> = listed.iter().map(|it| it.as_str().unwrap()).collect();
    let expression = targets.replace(".*_proj", &format!("({})", listed.join("|")));
    let adapter = Adapter::read("untied", "dora").renamed(inside);
    adapter
        .with("target_modules", json!(expression))
        .equals("dora", "in a model with images");
    let refusal = Adapter::read("untied", "dora").with("target_modules", json!(expression));
    assert!(refusal.refusal().contains("has no place"));

    let adapter = Adapter::read("untied", "dora")
        .renamed(|name| name.replace("model.model.layers", "model.layers"));
    adapter.equals("dora", "without an output");
}

#[test]
fn names_that_contradict_each_other_are_refused() {
    let mut first = true;
    let mut tensors = BTreeMap::new();
    for (name, tensor) in Adapter::read("untied", "dora").tensors {
        let adapter = if std::mem::take(&mut first) {
            "other"
        } else {
            "default"
        };
        tensors.insert(with_adapter_name(&name, adapter), tensor);
    }
    let mut adapter = Adapter::read("untied", "dora");
    adapter.tensors = tensors;
    assert!(
        adapter.refusal().contains("several adapters"),
        "{}",
        adapter.refusal()
    );

    let mut adapter = Adapter::read("untied", "dora");
    let (name, tensor) = adapter.tensors.pop_first().unwrap();
    let copy = with_adapter_name(&name, "default");
    adapter.tensors.insert(copy, tensor.clone());
    adapter.tensors.insert(name, tensor);
    assert!(adapter.refusal().contains("two of one weight"));

    let mut adapter = Adapter::read("untied", "dora");
    let (name, tensor) = adapter.tensors.pop_first().unwrap();
    adapter
        .tensors
        .insert(name.replace("model.model.layers", "model.layers"), tensor);
    assert!(adapter.refusal().contains("named in two ways"));
}

#[test]
fn what_matches_no_module_is_refused() {
    for (field, value) in [
        ("target_modules", json!(["query_key_value"])),
        ("target_modules", json!(".*language_model.*q_proj")),
        ("layers_to_transform", json!([7])),
        ("exclude_modules", json!(".*")),
    ] {
        let mut adapter = Adapter::read("untied", "dora").with(field, value);
        adapter.tensors.clear();
        let refusal = adapter.refusal();
        assert!(refusal.contains("match none"), "{field}: {refusal}");
        let report = AdapterReport::read(adapter.write().path(), None).unwrap();
        assert!(report.refusal.unwrap().contains("no tensors"), "{field}");
    }
}

#[test]
fn zeros_are_told() {
    let mut adapter = Adapter::read("tied", "dora_rslora");
    assert!(!adapter.load().unwrap().changes_nothing());
    let report = AdapterReport::read(adapter.write().path(), None).unwrap();
    assert_eq!(report.zero_targets, 0);
    let targets = report.targets.values().sum::<usize>();

    // Of a LoRA, because DoRA's magnitudes change something too.
    adapter
        .tensors
        .retain(|name, _| !name.contains("magnitude"));
    adapter = adapter.with("use_dora", json!(false));
    for factor in ["lora_A", "lora_B"] {
        let mut zero = Adapter {
            base: adapter.base,
            config: adapter.config.clone(),
            tensors: adapter.tensors.clone(),
        };
        for (name, (_, _, bytes)) in &mut zero.tensors {
            if name.contains(factor) {
                bytes.fill(0);
            }
        }
        assert!(zero.load().unwrap().changes_nothing(), "{factor}");
        let report = AdapterReport::read(zero.write().path(), None).unwrap();
        assert_eq!((report.zero_targets, report.refusal), (targets, None));
    }
    assert!(
        adapter
            .with("lora_alpha", json!(0))
            .load()
            .unwrap()
            .changes_nothing()
    );
}

#[test]
fn true_causes_are_told() {
    let mut empty = Adapter::read("untied", "dora");
    for (_, shape, bytes) in empty.tensors.values_mut() {
        *shape = vec![0];
        bytes.clear();
    }
    assert!(empty.refusal().contains("ZeRO-3"));

    let mut resized = Adapter::read("tied", "saved_lm_head");
    let (_, shape, bytes) = resized
        .tensors
        .get_mut("base_model.model.lm_head.weight")
        .unwrap();
    bytes.extend(vec![0; bytes.len() / shape[0]]);
    shape[0] += 1;
    assert!(
        resized.refusal().contains("vocabulary was resized"),
        "{}",
        resized.refusal()
    );

    let directory = Adapter::read("untied", "dora").write();
    let weights = directory.path().join("adapter_model.safetensors");
    fs::rename(weights, directory.path().join("adapters.safetensors")).unwrap();
    let error = AdapterReport::read(directory.path(), None).unwrap_err();
    assert!(error.to_string().contains("MLX"), "{error}");
}
