//! Our logits are those of Hugging Face transformers, at every position and however the prompt is
//! divided into steps. The references are made by `fixtures/parity/make_parity.py`.
#![allow(clippy::unwrap_used, clippy::panic, unreachable_pub)]

mod served;

use std::path::{Path, PathBuf};

use farthing_testkit::cached_gguf;
use served::{Fixture, Room, Told, argmax, logits, max_difference, runner};

const TOLERANCE: f32 = 1e-3;
const ROOM: Room = Room {
    num_blocks: 8,
    max_num_batched_tokens: 64,
};
/// The whole prompt at once, in uneven pieces over the edges of blocks, and token by token.
const CHUNKS: [usize; 3] = [64, 7, 1];

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/parity")
}

fn equals_transformers(model: &str) {
    let directory = fixtures().join("models").join(model);
    let expected = Fixture::read(&directory.join("expected.safetensors"));
    let prompt = Told {
        tokens: expected.tokens("prompt"),
        adapter: None,
    };
    let mut runner = runner(&directory, ROOM);
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

#[test]
fn llama_with_as_many_kv_heads_as_query_heads_and_its_own_lm_head() {
    equals_transformers("llama_mha_untied");
}

#[test]
fn llama_with_grouped_queries_and_tied_embeddings() {
    equals_transformers("llama_gqa_tied");
}

#[test]
fn llama_with_llama3_rope_scaling() {
    equals_transformers("llama_llama3_rope");
}

#[test]
fn llama_with_linear_rope_scaling() {
    equals_transformers("llama_linear_rope");
}

#[test]
fn llama_with_heads_that_do_not_make_up_the_hidden_size() {
    equals_transformers("llama_head_dim");
}

#[test]
fn mistral_with_a_window_shorter_than_the_prompt() {
    equals_transformers("mistral_short_window");
}

#[test]
fn mistral_with_a_window_longer_than_the_prompt() {
    equals_transformers("mistral_long_window");
}

/// The fixture keeps a part of the 49,152 logits a position: those of some fixed tokens, the
/// largest, and the logarithm of the sum of all exponentials.
#[test]
fn the_demo_model() {
    const DEMO_BYTES: u64 = 98_362_432;
    let Some(file) = cached_gguf(DEMO_BYTES) else {
        println!(
            "skipped: SmolLM2-135M-Instruct is not in the cache (FARTHING_CACHE, or \
             ~/.cache/farthing); `farthing` fetches it at its first start"
        );
        return;
    };
    let expected = Fixture::read(&fixtures().join("demo.safetensors"));
    let probes = expected.tokens("probe_tokens");
    let prompt = Told {
        tokens: expected.tokens("prompt"),
        adapter: None,
    };
    let mut runner = runner(&file, ROOM);
    for chunk in [64, 7] {
        let found = logits(&mut runner, std::slice::from_ref(&prompt), chunk).remove(0);

        let probed: Vec<Vec<f32>> = found
            .iter()
            .map(|logits| probes.iter().map(|&token| logits[token as usize]).collect())
            .collect();
        let sums: Vec<f32> = found.iter().map(|logits| log_sum_exp(logits)).collect();
        let tops = expected.tokens("top_token");
        let top_logits: Vec<f32> = found
            .iter()
            .zip(&tops)
            .map(|(logits, &top)| logits[top as usize])
            .collect();
        let difference = max_difference(&probed, &expected.rows("probe_logits"))
            .max(max_difference(&[sums], &[expected.values("logsumexp")]))
            .max(max_difference(
                &[top_logits],
                &[expected.values("top_logit")],
            ));
        println!("demo, {chunk} tokens a step: {difference:.1e}");
        assert!(
            difference <= TOLERANCE,
            "demo, {chunk} tokens a step: off by {difference}"
        );

        let gaps = expected.values("top_two_gap");
        for (position, logits) in found.iter().enumerate() {
            if gaps[position] > 2.0 * TOLERANCE {
                assert_eq!(
                    argmax(logits),
                    tops[position],
                    "likeliest token after {position}"
                );
            }
        }
    }
}

fn log_sum_exp(logits: &[f32]) -> f32 {
    let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = logits
        .iter()
        .map(|&logit| f64::from(logit - largest).exp())
        .sum();
    largest + sum.ln() as f32
}
