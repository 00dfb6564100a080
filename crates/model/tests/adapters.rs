//! A LoRA adapter gives the logits that PEFT gives, also beside other adapters in one batch; what
//! would not be served exactly is refused by name; and no adapter's cache is hit by another's
//! prompt.
#![allow(clippy::unwrap_used, clippy::panic, unreachable_pub)]

mod served;

use std::path::{Path, PathBuf};

use farthing_model::{Checkpoint, ComputeType, DeviceKind, LoadFormat, LoraAdapter, ModelError};
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
    LoraAdapter::load(
        directory,
        checkpoint.config(),
        ComputeType::F32,
        DeviceKind::Cpu,
    )
}

/// The refusal of an adapter, as its user reads it.
fn refusal(base: &str, directory: &Path) -> String {
    match load(base, directory) {
        Ok(_) => panic!("{} was loaded", directory.display()),
        Err(error) => error.to_string(),
    }
}

/// Every prompt under every adapter and under none, three prompts a batch, each with another.
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
fn what_is_not_served_exactly_is_refused_by_name() {
    for name in [
        "use_dora",
        "bias",
        "modules_to_save",
        "rank_pattern",
        "alpha_pattern",
        "embed_tokens",
        "trainable_token_indices",
    ] {
        let directory = fixtures().join("unsupported_adapters").join(name);
        let message = refusal("llama_gqa_tied", &directory);
        // The directory's own name does not count.
        let reason = message.replace(&directory.display().to_string(), "");
        assert!(reason.contains(name), "{name} is not named: {message}");
    }
}

#[test]
fn an_adapter_of_another_base_is_refused() {
    let of_llama = fixtures().join("adapters/llama_gqa_tied/rank_4");
    // A base of two layers under an adapter of three.
    let message = refusal("mistral_short_window", &of_llama);
    assert!(message.contains("model.layers.2."), "{message}");
    // A base with more key heads.
    let message = refusal("llama_mha_untied", &of_llama);
    assert!(
        message.contains("k_proj.lora_B") && message.contains("[32, 4]"),
        "{message}"
    );
}

#[test]
fn a_directory_without_an_adapter_is_refused() {
    let message = refusal("llama_gqa_tied", &fixtures().join("models/llama_gqa_tied"));
    assert!(message.contains("adapter_config.json"), "{message}");
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

    // One after the other, so that each finds the blocks of all who came before. In the second
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
