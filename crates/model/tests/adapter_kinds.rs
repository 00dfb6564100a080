//! An adapter of every kind that PEFT saves gives PEFT's logits: alone, beside other ranks and
//! kinds and the base model in one batch, over safetensors and over GGUF. The references are made
//! by `fixtures/parity/make_kinds.py`.
#![allow(clippy::unwrap_used, clippy::panic, unreachable_pub)]

mod served;

use std::path::{Path, PathBuf};

use farthing_model::{
    Checkpoint, ComputeType, DeviceKind, LoadFormat, LoraAdapter, LoraBase, ModelRunner,
};
use farthing_scheduler::AdapterId;
use served::{Fixture, Room, Served, Told, argmax, logits, max_difference, runner};

const TOLERANCE: f32 = 1e-3;
const ROOM: Room = Room {
    num_blocks: 32,
    max_num_batched_tokens: 128,
};
const PROMPTS: usize = 2;
/// The base's two files, which hold the same weights.
const FILES: [&str; 2] = ["base", "base.gguf"];
/// The whole prompt at once, and in uneven pieces.
const CHUNKS: [usize; 2] = [64, 7];

const UNTIED: [&str; 11] = [
    "patterns",
    "dora",
    "lora_bias",
    "dora_embeddings",
    "embeddings",
    "all_linear",
    "modules_to_save",
    "patterns_rslora",
    "regex",
    "layers",
    "excluded",
];
const TIED: [&str; 8] = [
    "dora_rslora",
    "embed_tokens",
    "saved_lm_head",
    "lm_head",
    "saved_embed_tokens",
    "tied_targets",
    "tied_saved",
    "other_base_embedding",
];

/// A base model, its adapters, and PEFT's results for both.
struct Kinds {
    runner: ModelRunner,
    expected: Fixture,
    /// The base first.
    served: Vec<(&'static str, Option<AdapterId>)>,
}

impl Kinds {
    fn load(base: &str, file: &str, names: &[&'static str]) -> Self {
        let directory = directory(base);
        let path = directory.join(file);
        let checkpoint = Checkpoint::open(&path, LoadFormat::Auto, 0).unwrap();
        let mut runner = runner(&path, ROOM);
        let mut served = vec![("base", None)];
        for name in names {
            let adapter = LoraAdapter::load(&directory.join(name), lora_base(&checkpoint));
            let adapter = adapter.unwrap_or_else(|e| panic!("{name}: {e}"));
            served.push((name, Some(adapter.id())));
            runner.add_adapter(adapter);
        }
        Self {
            runner,
            expected: Fixture::read(&directory.join("expected.safetensors")),
            served,
        }
    }

    /// Computes each of these adapters' prompts, one prompt an adapter, in one batch.
    fn assert_equal(&mut self, adapters: &[(usize, usize)], chunk: usize, what: &str) {
        let prompts: Vec<Told> = adapters
            .iter()
            .map(|&(adapter, prompt)| Told {
                tokens: self.expected.tokens(&format!("prompt.{prompt}")),
                adapter: self.served[adapter].1,
            })
            .collect();
        let found = logits(&mut self.runner, &prompts, chunk);
        for (found, &(adapter, prompt)) in found.iter().zip(adapters) {
            let name = format!("{}.{prompt}", self.served[adapter].0);
            let difference = max_difference(found, &self.expected.rows(&name));
            println!("{what}, {name}, {chunk} tokens a step: {difference:.1e}");
            assert!(
                difference <= TOLERANCE,
                "{what}, {name}: off by {difference}"
            );
        }
    }
}

fn directory(base: &str) -> PathBuf {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/parity/kinds");
    fixtures.join(base)
}

fn lora_base(checkpoint: &Checkpoint) -> LoraBase<'_> {
    LoraBase {
        checkpoint,
        compute_type: ComputeType::F32,
        device: DeviceKind::Cpu,
    }
}

fn alone(base: &str, names: &[&'static str]) {
    for file in FILES {
        let mut kinds = Kinds::load(base, file, names);
        for adapter in 0..kinds.served.len() {
            for prompt in 0..PROMPTS {
                for chunk in CHUNKS {
                    kinds.assert_equal(&[(adapter, prompt)], chunk, file);
                }
            }
        }
    }
}

/// The base and four adapters at a time, every adapter beside several others.
fn in_company(base: &str, names: &[&'static str]) {
    for file in FILES {
        let mut kinds = Kinds::load(base, file, names);
        for first in 1..=names.len() {
            let adapter = |i: usize| (first - 1 + i) % names.len() + 1;
            let batch = [
                (adapter(0), 0),
                (0, 1),
                (adapter(1), 1),
                (adapter(2), 0),
                (adapter(3), 1),
            ];
            for chunk in CHUNKS {
                kinds.assert_equal(&batch, chunk, file);
            }
        }
    }
}

#[test]
fn every_kind_alone() {
    alone("untied", &UNTIED);
}

#[test]
fn every_kind_alone_on_tied_embeddings() {
    alone("tied", &TIED);
}

#[test]
fn every_kind_in_a_batch_of_four_kinds_and_the_base() {
    in_company("untied", &UNTIED);
}

#[test]
fn every_kind_in_a_batch_of_four_kinds_and_the_base_on_tied_embeddings() {
    in_company("tied", &TIED);
}

#[test]
fn every_fixture_is_tested() {
    for (base, names) in [("untied", &UNTIED[..]), ("tied", &TIED[..])] {
        let entries = std::fs::read_dir(directory(base)).unwrap();
        let adapters = entries.filter(|entry| {
            let path = entry.as_ref().unwrap().path();
            path.join("adapter_config.json").exists()
        });
        assert_eq!(adapters.count(), names.len(), "{base}");
    }
}

/// Adapters that change the embedding change the keys and values of every token.
#[test]
fn no_adapters_cache_is_hit_by_anothers_prompt() {
    for (base, names) in [("untied", &UNTIED[..]), ("tied", &TIED[..])] {
        let kinds = Kinds::load(base, "base", names);
        let mut server = Served::new(kinds.runner, ROOM, 128);
        let prompt = kinds.expected.tokens("prompt.0");
        // In the second round each prompt finds its own block, and no other.
        for (round, cached_tokens) in [0, 16].into_iter().enumerate() {
            for (i, (name, adapter)) in kinds.served.iter().enumerate() {
                let id = server.add((100 * round + i) as u64, &prompt, 2, *adapter);
                let answer = &server.run()[&id];
                let rows = kinds.expected.rows(&format!("{name}.0"));
                assert_eq!(answer.tokens[0], argmax(rows.last().unwrap()), "{name}");
                assert_eq!(answer.cached_tokens, cached_tokens, "{name}, round {round}");
            }
        }
    }
}
