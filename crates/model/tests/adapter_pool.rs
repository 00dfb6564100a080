//! Adapters get slots when they are requested, the least recently used one is evicted, and nothing
//! is lost: an adapter that was evicted computes the same as before.
#![allow(clippy::unwrap_used, clippy::panic, unreachable_pub)]

use std::{fs, path::Path, sync::Arc};

use farthing_model::{
    AdapterPoolStats, Checkpoint, ComputeType, DeviceKind, Llama, LoadFormat, LoraAdapter,
    LoraBase, ModelError, ModelRunner, RunnerConfig,
};
use farthing_scheduler::{AdapterId, Batch, BatchRow, BlockId, SequenceId};
use farthing_testkit::RandomAdapter;

/// Two slots, five adapters.
struct Device {
    runner: ModelRunner,
    adapters: Vec<Arc<LoraAdapter>>,
}

impl Device {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let checkpoint = tiny_model(directory.path());
        let (compute_type, device) = (ComputeType::F32, DeviceKind::Cpu);
        let adapters = (0..5).map(|seed| {
            let path = directory.path().join(seed.to_string());
            RandomAdapter::new(seed).write(&path, checkpoint.config());
            let base = LoraBase {
                checkpoint: &checkpoint,
                compute_type,
                device,
            };
            Arc::new(LoraAdapter::load(&path, base).unwrap())
        });
        let adapters = adapters.collect();
        let model = Llama::load(&checkpoint, 64, compute_type, device).unwrap();
        let config = RunnerConfig {
            num_blocks: 8,
            max_num_seqs: 8,
            max_num_batched_tokens: 64,
            max_adapters: 2,
            max_lora_rank: 64,
            compute_type,
            device,
        };
        let runner = ModelRunner::new(model, config).unwrap();
        Self { runner, adapters }
    }

    fn id(&self, adapter: usize) -> AdapterId {
        self.adapters[adapter].id()
    }

    fn add(&mut self, adapter: usize) {
        self.runner.add_adapter(self.adapters[adapter].clone());
    }

    fn release(&mut self, adapter: usize) {
        self.runner.release_adapter(self.id(adapter));
    }

    /// The logits of one prompt under each of these adapters, in one batch.
    fn logits(&mut self, adapters: &[usize]) -> Result<Vec<Vec<f32>>, ModelError> {
        let row = |(i, &adapter): (usize, &usize)| BatchRow {
            sequence: SequenceId(i as u64),
            tokens: vec![7],
            start: 0,
            prompt_tokens: 1,
            block_table: vec![BlockId(i as u32)],
            adapter: Some(self.id(adapter)),
            sample: None,
            prompt_logprobs: None,
            next_prompt_token: None,
        };
        let rows = adapters.iter().enumerate().map(row).collect();
        self.runner.logits(&Batch { rows })
    }

    fn stats(&self) -> AdapterPoolStats {
        self.runner.adapter_stats()
    }
}

fn tiny_model(directory: &Path) -> Checkpoint {
    let config = serde_json::json!({
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "vocab_size": 64,
        "max_position_embeddings": 64,
        "rms_norm_eps": 1e-5,
        "rope_theta": 10000.0,
        "tie_word_embeddings": false,
        "hidden_act": "silu",
    });
    fs::write(directory.join("config.json"), config.to_string()).unwrap();
    Checkpoint::open(directory, LoadFormat::Dummy, 7).unwrap()
}

#[test]
fn an_arrival_fills_a_free_slot_ahead_of_its_first_step() {
    let mut device = Device::new();
    device.add(0);
    let stats = device.stats();
    assert_eq!((stats.slots, stats.resident.len(), stats.loads), (2, 1, 1));
    assert_eq!(stats.resident_bytes, device.adapters[0].size_bytes());
    assert_eq!((stats.hits, stats.misses), (0, 1));
    device.add(0);
    assert_eq!((device.stats().hits, device.stats().loads), (1, 1));
}

#[test]
fn the_least_recently_used_gives_way_but_never_for_an_arrival_alone_while_it_is_held() {
    let mut device = Device::new();
    device.add(0);
    device.add(1);
    device.logits(&[0]).unwrap();
    // Sequences hold both slots, so the third adapter waits for its step.
    device.add(2);
    assert_eq!(device.stats().evictions, 0);
    device.logits(&[2]).unwrap();
    assert_eq!((device.stats().loads, device.stats().evictions), (3, 1));
    // 1 was the least recently used, so 0 is still there and 1 is loaded again for it.
    device.logits(&[0]).unwrap();
    assert_eq!(device.stats().loads, 3);
    device.logits(&[1]).unwrap();
    assert_eq!((device.stats().loads, device.stats().evictions), (4, 2));
}

#[test]
fn what_nobody_holds_stays_until_its_slot_is_needed() {
    let mut device = Device::new();
    device.add(0);
    device.add(1);
    device.release(0);
    assert_eq!(device.stats().resident.len(), 2);
    device.add(0);
    assert_eq!(device.stats().hits, 1);
    device.release(0);
    // 1 is older than 0, but a sequence holds it.
    device.add(2);
    device.logits(&[1, 2]).unwrap();
    assert_eq!((device.stats().loads, device.stats().evictions), (3, 1));
}

#[test]
fn a_retired_adapter_leaves_with_its_last_sequence() {
    let mut device = Device::new();
    device.add(0);
    device.add(0);
    device.runner.retire_adapter(device.id(0));
    device.release(0);
    device.logits(&[0]).unwrap();
    device.release(0);
    assert_eq!(device.stats().resident.len(), 0);
    assert!(matches!(
        device.logits(&[0]),
        Err(ModelError::UnknownAdapter)
    ));
    // An adapter that no sequence holds is evicted at once.
    device.runner.prefetch_adapter(device.adapters[1].clone());
    assert_eq!(device.stats().resident.len(), 1);
    device.runner.retire_adapter(device.id(1));
    assert_eq!(device.stats().resident.len(), 0);
    // An adapter that is added again is no longer retired.
    device.add(0);
    device.runner.retire_adapter(device.id(0));
    device.add(0);
    device.release(0);
    device.release(0);
    assert_eq!(device.stats().resident.len(), 1);
}

#[test]
fn an_adapter_computes_the_same_after_it_was_away() {
    let mut device = Device::new();
    (0..5).for_each(|adapter| device.add(adapter));
    let before: Vec<_> = (0..5)
        .map(|adapter| device.logits(&[adapter]).unwrap())
        .collect();
    for (i, one) in before.iter().enumerate() {
        assert!(
            before[..i].iter().all(|other| other != one),
            "two are equal"
        );
    }
    for pair in [[0, 1], [4, 2], [3, 0], [1, 4]] {
        let together = device.logits(&pair).unwrap();
        for (adapter, logits) in pair.into_iter().zip(together) {
            let alone = &before[adapter][0];
            let differ = |(a, b): (&f32, &f32)| (a - b).abs() > 1e-4;
            assert!(!logits.iter().zip(alone).any(differ), "adapter {adapter}");
        }
    }
    assert_eq!(device.stats().resident.len(), 2);
}

#[test]
fn a_batch_of_more_adapters_than_slots_fails_and_harms_nobody() {
    let mut device = Device::new();
    (0..3).for_each(|adapter| device.add(adapter));
    let error = device.logits(&[0, 1, 2]).unwrap_err();
    assert!(matches!(error, ModelError::TooManyAdapters { slots: 2 }));
    device.logits(&[2, 1]).unwrap();
}

/// To the last bit: no operation depends on the presence of adapters.
#[test]
fn the_base_model_computes_as_if_there_were_no_adapters() {
    let base = |device: &mut Device| {
        let row = BatchRow {
            sequence: SequenceId(0),
            tokens: vec![7, 8, 9],
            start: 0,
            prompt_tokens: 3,
            block_table: vec![BlockId(0)],
            adapter: None,
            sample: None,
            prompt_logprobs: None,
            next_prompt_token: None,
        };
        device.runner.logits(&Batch { rows: vec![row] }).unwrap()
    };
    let mut device = Device::new();
    let without = base(&mut device);
    (0..2).for_each(|adapter| device.add(adapter));
    device.logits(&[0, 1]).unwrap();
    assert_eq!(base(&mut device), without);
    assert_eq!(device.stats().loads, 2);
}
