//! `ModelConfig` reads the same as transformers; the fixtures are made by
//! `fixtures/make_checkpoints.py`.

#![allow(clippy::unwrap_used, clippy::panic, unreachable_pub)]

use farthing_model::{Architecture, ModelConfig, ModelError};
use serde_json::{Value, json};

fn cases() -> Vec<Value> {
    serde_json::from_str(include_str!("fixtures/configs.json")).unwrap()
}

#[test]
fn fields_equal_those_of_transformers() {
    for case in cases() {
        let (name, expected) = (&case["name"], &case["expected"]);
        let config = ModelConfig::from_hf_json(&case["config"]).unwrap();
        let found = json!({
            "hidden_size": config.hidden_size,
            "intermediate_size": config.intermediate_size,
            "num_hidden_layers": config.num_hidden_layers,
            "num_attention_heads": config.num_attention_heads,
            "num_key_value_heads": config.num_key_value_heads,
            "head_dim": config.head_dim,
            "vocab_size": config.vocab_size,
            "max_position_embeddings": config.max_position_embeddings,
            "rms_norm_eps": expected["rms_norm_eps"],
            "tie_word_embeddings": config.tie_word_embeddings,
            "bos_token_id": config.bos_token_id,
            "eos_token_ids": config.eos_token_ids,
            "sliding_window": config.sliding_window,
            "inv_freq": expected["inv_freq"],
        });
        assert_eq!(&found, expected, "{name}");
        let eps = expected["rms_norm_eps"].as_f64().unwrap() as f32;
        assert_eq!(config.rms_norm_eps, eps, "{name}");
        let is_mistral = case["config"]["model_type"] == "mistral";
        assert_eq!(
            config.architecture == Architecture::Mistral,
            is_mistral,
            "{name}"
        );
    }
}

#[test]
fn rotary_frequencies_equal_those_of_transformers() {
    for case in cases() {
        let name = &case["name"];
        let found = ModelConfig::from_hf_json(&case["config"])
            .unwrap()
            .rope
            .inv_freq(0);
        let expected: Vec<f64> =
            serde_json::from_value(case["expected"]["inv_freq"].clone()).unwrap();
        assert_eq!(found.len(), expected.len(), "{name}");
        // torch's f32 power is itself good to a last bit or two; between low and high frequencies
        // `llama3` multiplies such a bit by up to its factor.
        let has_scaling = case["config"].to_string().contains("llama3");
        let tolerance = if has_scaling { 2e-6 } else { 2e-7 };
        for (index, (&found, expected)) in found.iter().zip(expected).enumerate() {
            let error = (f64::from(found) - expected).abs() / expected;
            assert!(
                error < tolerance,
                "{name} [{index}]: {found} is not {expected}"
            );
        }
    }
}

/// Every family, with nothing but sizes and as in models of the hub; made by
/// `fixtures/families/make_families.py`.
#[test]
fn families_are_read_as_transformers_reads_them() {
    let cases: Vec<Value> =
        serde_json::from_str(include_str!("fixtures/families/configs.json")).unwrap();
    for case in cases {
        let name = case["name"].as_str().unwrap();
        let config = ModelConfig::from_hf_json(&case["config"]).unwrap();
        let layers = 0..config.num_hidden_layers;
        let windows: Vec<_> = layers
            .clone()
            .map(|layer| config.window_of(layer))
            .collect();
        let rotated: Vec<_> = layers
            .map(|layer| !config.unrotated_layers.contains(layer))
            .collect();
        let found = json!({
            "name": case["name"],
            "config": case["config"],
            "num_key_value_heads": config.num_key_value_heads,
            "head_dim": config.head_dim,
            "max_position_embeddings": config.max_position_embeddings,
            "rms_norm_eps": case["rms_norm_eps"],
            "tie_word_embeddings": config.tie_word_embeddings,
            "bos_token_id": config.bos_token_id,
            "eos_token_ids": config.eos_token_ids,
            "windows": windows,
            "rotated": rotated,
            "inv_freq": case["inv_freq"],
            "attention_factor": case["attention_factor"],
        });
        assert_eq!(found, case);
        let near = |found: f32, expected: &Value| {
            let expected = expected.as_f64().unwrap();
            (f64::from(found) - expected).abs() <= 2e-6 * expected
        };
        assert!(near(config.rms_norm_eps, &case["rms_norm_eps"]), "{name}");
        let factor = config.rope.attention_factor();
        assert!(near(factor, &case["attention_factor"]), "{name}: {factor}");
        // Until a sequence is longer, transformers has the short factors of longrope.
        let found = config.rope.inv_freq(0);
        let expected = case["inv_freq"].as_array().unwrap();
        assert_eq!(found.len(), expected.len(), "{name}");
        for (found, expected) in found.into_iter().zip(expected) {
            assert!(near(found, expected), "{name}: {found} is not {expected}");
        }
    }
}

#[test]
fn parameters_are_counted() {
    let count = |name: &str| {
        let case = cases()
            .into_iter()
            .find(|case| case["name"] == name)
            .unwrap();
        ModelConfig::from_hf_json(&case["config"])
            .unwrap()
            .num_parameters()
    };
    // The numbers of the model cards.
    assert_eq!(count("smollm2-135m-instruct"), 134_515_008);
    assert_eq!(count("llama-3.1-8b-instruct"), 8_030_261_248);
    assert_eq!(count("mistral-7b-instruct-v0.3"), 7_248_023_552);
}

#[test]
fn the_generation_config_names_the_tokens_that_end_an_answer() {
    let config = ModelConfig::from_hf_json(&llama(json!({"eos_token_id": 2}))).unwrap();
    let generation = json!({"eos_token_id": [7, 9]});
    assert_eq!(
        config
            .clone()
            .with_generation_config(&generation)
            .unwrap()
            .eos_token_ids,
        [7, 9]
    );
    let silent = json!({"temperature": 0.6, "eos_token_id": null});
    assert_eq!(
        config
            .with_generation_config(&silent)
            .unwrap()
            .eos_token_ids,
        [2]
    );
}

/// A small Llama with some fields changed.
fn llama(changes: Value) -> Value {
    let mut config = json!({
        "architectures": ["LlamaForCausalLM"], "hidden_act": "silu", "hidden_size": 64,
        "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4,
        "vocab_size": 1000,
    });
    let fields = config.as_object_mut().unwrap();
    for (name, value) in changes.as_object().unwrap() {
        fields.insert(name.clone(), value.clone());
    }
    config
}

#[test]
fn what_would_change_the_maths_is_refused_by_name() {
    ModelConfig::from_hf_json(&llama(
        json!({"attention_bias": false, "pretraining_tp": 2}),
    ))
    .unwrap();
    for (changes, named) in [
        (
            json!({"architectures": ["Qwen2ForSequenceClassification"]}),
            "Qwen2ForSequenceClassification",
        ),
        (
            json!({"architectures": ["Qwen3MoeForCausalLM"], "model_type": "qwen3"}),
            "Qwen3MoeForCausalLM",
        ),
        (
            json!({"architectures": null, "model_type": "gemma"}),
            "gemma",
        ),
        (
            json!({"architectures": ["MistralForCausalLM"], "attention_bias": true}),
            "attention_bias",
        ),
        (
            json!({"architectures": ["Qwen3ForCausalLM"], "mlp_bias": true}),
            "mlp_bias",
        ),
        (json!({"logits_scaling": 2.0}), "logits_scaling"),
        (json!({"embedding_multiplier": 2.0}), "embedding_multiplier"),
        (json!({"no_rope_layers": [1, 0]}), "no_rope_layers"),
        (
            json!({"architectures": ["Qwen2ForCausalLM"], "layer_types": ["full_attention", "linear_attention"]}),
            "linear_attention",
        ),
        (
            json!({"rope_parameters": {"llama_4_scaling_beta": 0.1}}),
            "llama_4_scaling_beta",
        ),
        (json!({"hidden_act": "gelu"}), "gelu"),
        (
            json!({"partial_rotary_factor": 0.5}),
            "partial_rotary_factor",
        ),
        (
            json!({"rope_parameters": {"partial_rotary_factor": 0.5}}),
            "partial_rotary_factor",
        ),
        (
            json!({"quantization_config": {"quant_method": "gptq"}}),
            "gptq",
        ),
        (
            json!({"rope_scaling": {"type": "mrope", "mrope_section": [1, 1, 2]}}),
            "mrope",
        ),
        (
            json!({"rope_scaling": {"rope_type": "dynamic", "factor": 2.0}}),
            "dynamic",
        ),
        (
            json!({"architectures": ["MistralForCausalLM"], "layer_types": ["full_attention"]}),
            "layer_types",
        ),
    ] {
        let error = ModelConfig::from_hf_json(&llama(changes.clone())).unwrap_err();
        assert!(
            matches!(error, ModelError::Unsupported(_)),
            "{changes}: {error:?}"
        );
        assert!(error.to_string().contains(named), "{changes}: {error}");
    }
}

#[test]
fn impossible_fields_are_refused_by_name() {
    for (changes, named) in [
        (json!({"architectures": null}), "architectures"),
        (json!({"hidden_size": null}), "hidden_size"),
        (json!({"hidden_size": "64"}), "hidden_size"),
        (json!({"hidden_size": -64}), "hidden_size"),
        (json!({"hidden_size": 66}), "head_dim"),
        (json!({"head_dim": 5}), "head_dim"),
        (json!({"num_attention_heads": 0}), "num_attention_heads"),
        (json!({"num_key_value_heads": 0}), "num_key_value_heads"),
        (json!({"num_key_value_heads": 3}), "num_key_value_heads"),
        (json!({"vocab_size": u64::MAX}), "vocab_size"),
        (
            json!({"num_hidden_layers": 1_u64 << 40}),
            "num_hidden_layers",
        ),
        (
            json!({"rope_parameters": {"rope_type": "longrope"}}),
            "short_factor",
        ),
        (
            json!({"rope_scaling": {"rope_type": "longrope", "short_factor": [1.0], "long_factor": [1.0]}}),
            "short_factor",
        ),
        (
            json!({"rope_scaling": {"type": "yarn", "factor": -2.0}}),
            "factor",
        ),
        (
            json!({"architectures": ["Phi3ForCausalLM"], "partial_rotary_factor": 0.0}),
            "rotated",
        ),
        (
            json!({"architectures": ["Qwen2ForCausalLM"], "layer_types": ["full_attention"]}),
            "layer_types",
        ),
        (
            json!({"architectures": ["Qwen3ForCausalLM"],
                "layer_types": ["sliding_attention", "full_attention"]}),
            "use_sliding_window",
        ),
        (
            json!({"architectures": ["SmolLM3ForCausalLM"], "no_rope_layers": [1]}),
            "no_rope_layers",
        ),
        (
            json!({"architectures": ["GraniteForCausalLM"], "logits_scaling": 0.0}),
            "logits_scaling",
        ),
        (
            json!({"architectures": ["Mistral3ForConditionalGeneration"]}),
            "text_config",
        ),
        (json!({"eos_token_id": "</s>"}), "eos_token_id"),
        (json!({"eos_token_id": [1, 1000]}), "1000"),
        (json!({"rope_theta": 0.0}), "theta"),
        (json!({"rms_norm_eps": "1e-5"}), "rms_norm_eps"),
        (json!({"rope_scaling": {"type": "linear"}}), "factor"),
        (
            json!({"rope_scaling": {"type": "linear", "factor": -1.0}}),
            "factor",
        ),
        (
            json!({"rope_scaling": {
                "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 4.0,
                "high_freq_factor": 4.0, "original_max_position_embeddings": 64,
            }}),
            "high_freq_factor",
        ),
    ] {
        let error = ModelConfig::from_hf_json(&llama(changes.clone())).unwrap_err();
        assert!(
            matches!(error, ModelError::Config(_)),
            "{changes}: {error:?}"
        );
        assert!(error.to_string().contains(named), "{changes}: {error}");
    }
    let error = ModelConfig::from_hf_json(&json!([])).unwrap_err();
    assert!(error.to_string().contains("not a JSON object"), "{error}");
}
