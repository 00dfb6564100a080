use serde_json::json;

use super::*;

const GIB: usize = 1 << 30;

fn mistral_7b() -> ModelConfig {
    let shape = json!({
        "architectures": ["MistralForCausalLM"], "model_type": "mistral",
        "hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32,
        "num_attention_heads": 32, "num_key_value_heads": 8, "vocab_size": 32768,
        "max_position_embeddings": 32768, "rope_theta": 1_000_000.0, "rms_norm_eps": 1e-5,
        "hidden_act": "silu", "tie_word_embeddings": false, "torch_dtype": "bfloat16",
    });
    ModelConfig::from_hf_json(&shape).unwrap()
}

fn divide(
    device: DeviceKind,
    kv_cache_bytes: Option<usize>,
    free: usize,
    weights: Weights,
) -> anyhow::Result<MemoryPlan> {
    let memory = Memory {
        device,
        limits: &Limits {
            max_model_len: None,
            kv_cache_bytes,
            max_num_seqs: 256,
            max_num_batched_tokens: 2048,
            max_queued_sequences: 1024,
        },
        model: &mistral_7b(),
        compute_type: ComputeType::Bf16,
        max_model_len: 8192,
        adapter_bytes: GIB,
    };
    memory.divide(Some(free), weights)
}

#[test]
fn a_gpu_gives_the_cache_what_all_else_leaves() {
    let free = 80 * GIB;
    let plan = divide(DeviceKind::Cuda(0), None, free, Weights::OnDisk).unwrap();
    let most = free / 20 * 19;
    let block = plan.kv_cache_bytes / plan.num_blocks;
    assert!(
        (most - block..=most).contains(&plan.total_bytes()),
        "{plan}"
    );
    // 128 KiB a token.
    assert!(plan.kv_cache_tokens() > 400_000, "{plan}");
}

#[test]
fn weights_that_are_loaded_are_not_taken_again() {
    let on_disk = divide(DeviceKind::Cuda(0), None, 80 * GIB, Weights::OnDisk).unwrap();
    let free = 80 * GIB - on_disk.weights_bytes;
    let loaded = divide(DeviceKind::Cuda(0), None, free, Weights::Loaded).unwrap();
    let left = free - (loaded.total_bytes() - loaded.weights_bytes);
    assert!((free / 20..free / 20 + GIB).contains(&left), "{loaded}");
    assert!(loaded.num_blocks > on_disk.num_blocks);
}

#[test]
fn the_cpu_keeps_half_of_its_memory_for_others() {
    let plan = divide(DeviceKind::Cpu, None, 18 * GIB, Weights::OnDisk).unwrap();
    let rest = plan.total_bytes() - plan.kv_cache_bytes;
    assert!(plan.kv_cache_bytes <= (18 * GIB - rest) / 2, "{plan}");
}

#[test]
fn too_little_says_what_to_lower() {
    let cuda = DeviceKind::Cuda(0);
    for (kv_cache_bytes, free, weights) in [
        (None, 15 * GIB, Weights::OnDisk),
        (None, GIB, Weights::Loaded),
        (Some(70 * GIB), 80 * GIB, Weights::OnDisk),
    ] {
        let error = divide(cuda, kv_cache_bytes, free, weights).unwrap_err();
        let message = error.to_string();
        for flag in ["--max-model-len", "--kv-cache-memory", "--max-adapters"] {
            assert!(message.contains(flag), "{message}");
        }
    }
    assert!(divide(cuda, Some(50 * GIB), 80 * GIB, Weights::OnDisk).is_ok());
}
