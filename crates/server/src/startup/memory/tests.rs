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
            gpu_memory_utilization: 0.9,
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
    let free = 76 * GIB;
    let plan = divide(DeviceKind::Cuda(0), None, free, Weights::OnDisk).unwrap();
    let block = plan.kv_cache_bytes / plan.num_blocks;
    assert!(
        (free - block..=free).contains(&plan.total_bytes()),
        "{plan}"
    );
    // 128 KiB a token.
    assert!(plan.kv_cache_tokens() > 400_000, "{plan}");
}

#[test]
fn a_share_of_a_gpus_whole_memory_is_taken() {
    let model = mistral_7b();
    let of_gpu = |gpu_memory_utilization: f64, free: usize, weights: Weights| {
        let limits = Limits {
            max_model_len: None,
            kv_cache_bytes: None,
            gpu_memory_utilization,
            max_num_seqs: 256,
            max_num_batched_tokens: 2048,
            max_queued_sequences: 1024,
        };
        let memory = Memory {
            device: DeviceKind::Cuda(0),
            limits: &limits,
            model: &model,
            compute_type: ComputeType::Bf16,
            max_model_len: 8192,
            adapter_bytes: 0,
        };
        memory.of_gpu(free, 80 * GIB, weights)
    };
    assert_eq!(of_gpu(0.75, 79 * GIB, Weights::OnDisk), 60 * GIB);
    assert_eq!(of_gpu(1.0, 79 * GIB, Weights::OnDisk), 79 * GIB);
    // Two servers of a half each.
    assert_eq!(of_gpu(0.5, 40 * GIB, Weights::OnDisk), 40 * GIB);
    let weights = 2 * model.num_parameters();
    let left = of_gpu(0.75, 79 * GIB - weights, Weights::Loaded);
    assert_eq!(left, 60 * GIB - weights);
}

#[test]
fn weights_that_are_loaded_are_not_taken_again() {
    let on_disk = divide(DeviceKind::Cuda(0), None, 76 * GIB, Weights::OnDisk).unwrap();
    let free = 76 * GIB - on_disk.weights_bytes;
    let loaded = divide(DeviceKind::Cuda(0), None, free, Weights::Loaded).unwrap();
    assert_eq!(loaded, on_disk);
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
