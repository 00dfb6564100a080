//! A LoRA adapter gives PEFT's logits, also beside other adapters in one batch. An adapter's cache
//! is never used for another's prompt.
#![allow(clippy::unwrap_used, clippy::panic, unreachable_pub)]

mod served;

use std::path::{Path, PathBuf};

use farthing_model::{
    Checkpoint, ComputeType, DeviceKind, LoadFormat, LoraAdapter, LoraBase, ModelError,
};
use farthing_scheduler::AdapterId;
use served::{Fixture, Room, Served, Told, argmax, logits, max_difference, runner};

const TOLERANCE: f32 = 1e-3;
const ROOM: Room = Room {
    num_blocks: 32,
    max_num_batched_tokens: 128,
};
const PROMPTS: usize = 3;

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/parity")
}

fn load(base: &str, directory: &Path) -> Result<LoraAdapter, ModelError> {
    let checkpoint =
        Checkpoint::open(&fixtures().join("models").join(base), LoadFormat::Auto, 0).unwrap();
    let base = LoraBase {
        checkpoint: &checkpoint,
        compute_type: ComputeType::F32,
        device: DeviceKind::Cpu,
    };
    LoraAdapter::load(directory, base)
}

/// Every prompt under every adapter and without, three prompts per batch with different adapters.
fn equals_peft(base: &str, adapters: [&str; 2]) {
    let directory = fixtures().join("adapters").join(base);
    let expected = Fixture::read(&directory.join("expected.safetensors"));
    let mut runner = runner(&fixtures().join("models").join(base), ROOM);
    let mut served: Vec<(&str, Option<AdapterId>)> = vec![("base", None)];
    for name in adapters {
        let adapter = load(base, &directory.join(name)).unwrap();
        served.push((name, Some(adapter.id())));
        runner.add_adapter(adapter);
    }
    for chunk in [64, 7] {
        for shift in 0..PROMPTS {
            let of = |i: usize| served[(i + shift) % served.len()];
            let prompts: Vec<Told> = (0..PROMPTS)
                .map(|i| Told {
                    tokens: expected.tokens(&format!("prompt.{i}")),
                    adapter: of(i).1,
                })
                .collect();
            let found = logits(&mut runner, &prompts, chunk);
            for (i, found) in found.iter().enumerate() {
                let name = format!("{}.{i}", of(i).0);
                let difference = max_difference(found, &expected.rows(&name));
                println!("{base}, {name}, {chunk} tokens a step: {difference:.1e}");
                assert!(
                    difference <= TOLERANCE,
                    "{base}, {name}: off by {difference}"
                );
            }
        }
    }
}

#[test]
fn a_batch_of_two_adapters_and_the_base_on_llama() {
    equals_peft("llama_gqa_tied", ["rank_4", "rank_16_rslora"]);
}

#[test]
fn a_batch_of_two_adapters_and_the_base_on_mistral() {
    equals_peft("mistral_short_window", ["rank_4_rslora", "rank_16"]);
}

#[test]
fn no_adapters_cache_is_hit_by_anothers_prompt() {
    let base = "llama_gqa_tied";
    let directory = fixtures().join("adapters").join(base);
    let expected = Fixture::read(&directory.join("expected.safetensors"));
    let mut runner = runner(&fixtures().join("models").join(base), ROOM);
    let mut served: Vec<(&str, Option<AdapterId>)> = vec![("base", None)];
    for name in ["rank_4", "rank_16_rslora"] {
        let adapter = load(base, &directory.join(name)).unwrap();
        served.push((name, Some(adapter.id())));
        runner.add_adapter(adapter);
    }
    let mut server = Served::new(runner, ROOM, 256);
    let prompt = expected.tokens("prompt.0");
    let prompt_blocks = prompt.len() / 16 * 16;

    // One after the other, so that each could find the blocks of all earlier ones. In the second
    // round each finds its own.
    for (round, cached_tokens) in [0, prompt_blocks].into_iter().enumerate() {
        for (i, (name, adapter)) in served.iter().enumerate() {
            let id = server.add((10 * round + i) as u64, &prompt, 8, *adapter);
            let answer = &server.run()[&id];
            let likeliest = argmax(expected.rows(&format!("{name}.0")).last().unwrap());
            assert_eq!(answer.tokens[0], likeliest, "{name} in round {round}");
            assert_eq!(
                answer.cached_tokens, cached_tokens,
                "{name} in round {round}"
            );
        }
    }

    // The second prompt begins like the first for two blocks.
    let (name, adapter) = served[1];
    let id = server.add(100, &expected.tokens("prompt.1"), 8, adapter);
    let answer = &server.run()[&id];
    let likeliest = argmax(expected.rows(&format!("{name}.1")).last().unwrap());
    assert_eq!((answer.tokens[0], answer.cached_tokens), (likeliest, 32));
}
