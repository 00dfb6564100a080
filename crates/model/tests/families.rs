//! The logits of every family, and of what varies within one, are those of Hugging Face transformers:
//! from safetensors and from GGUF, and with PEFT's adapters. The references are made by
//! `fixtures/families/make_families.py`.
#![allow(clippy::unwrap_used, clippy::panic, unreachable_pub)]

mod served;

use std::path::{Path, PathBuf};

use farthing_model::{
    AdapterReport, Checkpoint, ComputeType, DeviceKind, LoadFormat, LoraAdapter, LoraBase,
};
use served::{Fixture, Room, Told, logits, max_difference, runner, runner_of};

const TOLERANCE: f32 = 1e-3;
const ROOM: Room = Room {
    num_blocks: 8,
    max_num_batched_tokens: 64,
};
/// The whole prompt at once, in uneven pieces over the edges of blocks, and token by token.
const CHUNKS: [usize; 3] = [64, 7, 1];

fn directory(model: &str) -> PathBuf {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/families");
    fixtures.join(model)
}

fn expected(model: &str) -> Fixture {
    Fixture::read(&directory(model).join("expected.safetensors"))
}

/// The logits of the fixture's prompt, for each size of step.
fn equals_expected(model: &str, path: &Path) {
    let expected = expected(model);
    let prompt = Told {
        tokens: expected.tokens("prompt"),
        adapter: None,
    };
    let mut runner = runner(path, ROOM);
    for chunk in CHUNKS {
        let found = logits(&mut runner, std::slice::from_ref(&prompt), chunk);
        let difference = max_difference(&found[0], &expected.rows("logits"));
        println!("{model}, {chunk} tokens a step: {difference:.1e}");
        assert!(
            difference <= TOLERANCE,
            "{model}, {chunk} tokens a step: off by {difference}"
        );
    }
}

fn safetensors_equal_transformers(model: &str) {
    equals_expected(model, &directory(model));
}

fn both_formats_equal_transformers(model: &str) {
    safetensors_equal_transformers(model);
    equals_expected(model, &directory(model).join("model.gguf"));
}

fn adapters_equal_peft(model: &str, adapters: &[&str]) {
    let expected = expected(model);
    let checkpoint = Checkpoint::open(&directory(model), LoadFormat::Auto, 0).unwrap();
    let base = LoraBase {
        checkpoint: &checkpoint,
        compute_type: ComputeType::F32,
        device: DeviceKind::Cpu,
    };
    let mut runner = runner(&directory(model), ROOM);
    for name in adapters {
        let adapter = LoraAdapter::load(&directory(model).join(name), base).unwrap();
        let prompt = Told {
            tokens: expected.tokens("prompt"),
            adapter: Some(adapter.id()),
        };
        runner.add_adapter(adapter);
        for chunk in [64, 7] {
            let found = logits(&mut runner, std::slice::from_ref(&prompt), chunk);
            let difference = max_difference(&found[0], &expected.rows(name));
            assert!(
                difference <= TOLERANCE,
                "{model} with {name}: off by {difference}"
            );
        }
    }
}

#[test]
fn llama_with_biases() {
    both_formats_equal_transformers("llama_biases");
}

#[test]
fn llama_with_yarn() {
    both_formats_equal_transformers("llama_yarn");
}

#[test]
fn mistral_with_heads_that_do_not_make_up_the_hidden_size() {
    safetensors_equal_transformers("mistral_head_dim");
}

#[test]
fn qwen2_with_its_biases() {
    both_formats_equal_transformers("qwen2_tied");
}

#[test]
fn qwen2_with_yarn() {
    both_formats_equal_transformers("qwen2_yarn");
}

#[test]
fn qwen2_with_a_window_in_some_layers() {
    safetensors_equal_transformers("qwen2_windows");
}

#[test]
fn qwen3_with_norms_of_heads() {
    both_formats_equal_transformers("qwen3_untied");
}

#[test]
fn qwen3_with_biases_and_a_window_in_some_layers() {
    safetensors_equal_transformers("qwen3_tied");
}

#[test]
fn smollm3_with_layers_without_rotation() {
    both_formats_equal_transformers("smollm3_tied");
}

#[test]
fn smollm3_with_a_list_of_layers_and_a_window_in_some() {
    safetensors_equal_transformers("smollm3_windows");
}

#[test]
fn granite_with_its_factors() {
    both_formats_equal_transformers("granite_untied");
}

#[test]
fn granite_with_biases_and_tied_embeddings() {
    both_formats_equal_transformers("granite_tied");
}

#[test]
fn phi3_with_fused_weights_and_a_window() {
    both_formats_equal_transformers("phi3_window");
}

#[test]
fn phi3_with_partial_rotation_and_the_long_factors() {
    both_formats_equal_transformers("phi3_long_rope");
}

/// As in llama.cpp, the longest sequence that the server takes decides.
#[test]
fn phi3_with_the_short_factors_if_no_sequence_is_longer_than_the_training_was() {
    let expected = expected("phi3_long_rope");
    let short = expected.rows("short_logits");
    let prompt = Told {
        tokens: expected.tokens("prompt")[..short.len()].to_vec(),
        adapter: None,
    };
    for file in ["", "model.gguf"] {
        let path = directory("phi3_long_rope").join(file);
        let checkpoint = Checkpoint::open(&path, LoadFormat::Auto, 0).unwrap();
        let warnings = checkpoint.warnings().join(" ");
        assert!(warnings.contains("at most 32 tokens"), "{warnings}");
        let mut runner = runner_of(&checkpoint, ROOM, 32);
        let found = logits(&mut runner, std::slice::from_ref(&prompt), 7);
        let difference = max_difference(&found[0], &short);
        assert!(difference <= TOLERANCE, "off by {difference}");
    }
}

/// Small 3.1 and later: the weights for images are in the file, and not served.
#[test]
fn mistral_as_the_text_part_of_a_model_for_images() {
    safetensors_equal_transformers("mistral3");
}

#[test]
fn mistral_as_the_text_part_under_the_names_of_earlier_versions() {
    safetensors_equal_transformers("mistral3_old_names");
}

#[test]
fn adapters_on_the_text_part_of_a_model_for_images() {
    adapters_equal_peft("mistral3", &["plain", "everywhere"]);
    for name in ["plain", "everywhere"] {
        let report = AdapterReport::read(&directory("mistral3").join(name), None).unwrap();
        assert_eq!(report.refusal, None, "{name}");
        assert_eq!(report.scales, [2.0], "{name}");
        assert_eq!(report.layers.len(), 2, "{name}");
    }
}

#[test]
fn ministral3_with_yarn_and_queries_scaled_by_position() {
    both_formats_equal_transformers("ministral3");
}

#[test]
fn adapters_on_biased_projections() {
    adapters_equal_peft("qwen2_tied", &["plain", "dora"]);
}

#[test]
fn adapters_on_projections_with_norms_of_heads() {
    adapters_equal_peft("qwen3_tied", &["plain"]);
}

#[test]
fn adapters_under_factors() {
    adapters_equal_peft("granite_tied", &["plain", "vocabulary", "biases"]);
}

#[test]
fn adapters_on_fused_projections() {
    adapters_equal_peft("phi3_long_rope", &["plain", "dora"]);
}
