//! Our logits are those of candle-transformers, on random weights. It is an oracle besides Hugging
//! Face's transformers that needs no Python and no fixtures.
#![allow(clippy::unwrap_used, clippy::panic, unreachable_pub)]

mod served;

use std::collections::HashMap;

use candle_core::{DType, Device, Result, Tensor};
use candle_nn::VarBuilder;
use candle_transformers::models::{llama, mistral, qwen2, qwen3};
use farthing_model::{Checkpoint, ModelConfig};
use serde_json::{Value, json};
use served::{Room, Told, logits, max_difference, runner_of};

const TOLERANCE: f32 = 1e-3;
const ROOM: Room = Room {
    num_blocks: 8,
    max_num_batched_tokens: 64,
};
const VOCAB: u32 = 101;
/// Lengths of prompts, around the edges of blocks.
const LENGTHS: [usize; 5] = [1, 2, 15, 17, 40];

/// The logits after the last token of a prompt.
type Oracle = Box<dyn FnMut(&Tensor) -> Result<Tensor>>;

/// A small config with what a family needs besides.
fn config(model_type: &str, class: &str, more: Value) -> Value {
    let mut config = json!({
        "architectures": [class],
        "model_type": model_type,
        "hidden_size": 48,
        "intermediate_size": 80,
        "num_hidden_layers": 3,
        "num_attention_heads": 6,
        "num_key_value_heads": 2,
        "vocab_size": VOCAB,
        "max_position_embeddings": 64,
        "rms_norm_eps": 1e-5,
        "rope_theta": 5000.0,
        "tie_word_embeddings": false,
        "hidden_act": "silu",
        "sliding_window": null,
        "use_sliding_window": false,
        "bos_token_id": 1,
        "eos_token_id": 2,
    });
    let fields = config.as_object_mut().unwrap();
    fields.extend(more.as_object().unwrap().clone());
    config
}

/// The same weights for candle.
fn weights(checkpoint: &Checkpoint) -> VarBuilder<'static> {
    let shapes = checkpoint.config().tensor_shapes();
    let tensors = shapes.map(|(name, shape)| {
        let height = if shape.len() == 1 { 1 } else { shape[0] };
        let mut values = Vec::new();
        checkpoint.read_rows(&name, 0..height, &mut values).unwrap();
        (name, Tensor::from_vec(values, shape, &Device::Cpu).unwrap())
    });
    let tensors: HashMap<_, _> = tensors.collect();
    VarBuilder::from_tensors(tensors, DType::F32, &Device::Cpu)
}

fn equals_oracle(config: &Value, oracle: impl Fn(VarBuilder<'static>) -> Oracle) {
    /// Large enough for logits of several units.
    const DEVIATION: f32 = 0.25;
    let own = ModelConfig::from_hf_json(config).unwrap();
    let checkpoint = Checkpoint::random(own, 7, DEVIATION);
    let mut runner = runner_of(&checkpoint, ROOM, 64);
    let mut oracle = oracle(weights(&checkpoint));
    for length in LENGTHS {
        let tokens: Vec<u32> = (0..length as u32).map(|i| (i * 37 + 11) % VOCAB).collect();
        let ids = Tensor::new(tokens.as_slice(), &Device::Cpu).unwrap();
        let expected = oracle(&ids.unsqueeze(0).unwrap()).unwrap();
        let expected: Vec<f32> = expected.flatten_all().unwrap().to_vec1().unwrap();
        let largest = expected.iter().fold(0.0_f32, |most, x| most.max(x.abs()));
        assert!(largest > 1.0, "logits up to {largest} tell nothing");
        let prompt = Told {
            tokens,
            adapter: None,
        };
        let found = logits(&mut runner, &[prompt], 7).remove(0);
        let difference = max_difference(&found[length - 1..], &[expected]);
        assert!(
            difference <= TOLERANCE,
            "{length} tokens: off by {difference}"
        );
    }
}

#[test]
fn llama() {
    for tied in [false, true] {
        let more = json!({"tie_word_embeddings": tied});
        let config = config("llama", "LlamaForCausalLM", more);
        equals_oracle(&config, |weights| {
            let own: llama::LlamaConfig = serde_json::from_value(config.clone()).unwrap();
            let own = own.into_config(false);
            let model = llama::Llama::load(weights, &own).unwrap();
            Box::new(move |ids| {
                let mut cache = llama::Cache::new(true, DType::F32, &own, &Device::Cpu)?;
                model.forward(ids, 0, &mut cache)
            })
        });
    }
}

#[test]
fn mistral() {
    let more = json!({"head_dim": 12, "use_flash_attn": false});
    let config = config("mistral", "MistralForCausalLM", more);
    equals_oracle(&config, |weights| {
        let own: mistral::Config = serde_json::from_value(config.clone()).unwrap();
        let mut model = mistral::Model::new(&own, weights).unwrap();
        Box::new(move |ids| {
            model.clear_kv_cache();
            model.forward(ids, 0)
        })
    });
}

#[test]
fn qwen2() {
    for tied in [false, true] {
        let more =
            json!({"tie_word_embeddings": tied, "sliding_window": 64, "max_window_layers": 3});
        let config = config("qwen2", "Qwen2ForCausalLM", more);
        equals_oracle(&config, |weights| {
            let own: qwen2::Config = serde_json::from_value(config.clone()).unwrap();
            let mut model = qwen2::ModelForCausalLM::new(&own, weights).unwrap();
            Box::new(move |ids| {
                model.clear_kv_cache();
                model.forward(ids, 0)
            })
        });
    }
}

#[test]
fn qwen3() {
    for (tied, biased) in [(false, false), (true, true)] {
        let more = json!({
            "tie_word_embeddings": tied,
            "attention_bias": biased,
            "head_dim": 16,
            "max_window_layers": 3,
        });
        let config = config("qwen3", "Qwen3ForCausalLM", more);
        equals_oracle(&config, |weights| {
            let own: qwen3::Config = serde_json::from_value(config.clone()).unwrap();
            let mut model = qwen3::ModelForCausalLM::new(&own, weights).unwrap();
            Box::new(move |ids| {
                model.clear_kv_cache();
                model.forward(ids, 0)
            })
        });
    }
}
