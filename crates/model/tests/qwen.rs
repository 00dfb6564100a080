//! Qwen2.5-Coder-0.5B-Instruct answers as transformers does with the same dequantised weights, as far as
//! one token is clearly more likely than the others. The answers are made by `fixtures/qwen/make_qwen.py`.
#![allow(clippy::unwrap_used, clippy::panic, unreachable_pub)]

mod served;

use farthing_testkit::cached_gguf;
use serde_json::Value;
use served::{Room, Served, runner_of};

const GGUF_BYTES: u64 = 491_400_064;
/// Rounding moves logits by some thousandths.
const CLEAR_GAP: f64 = 0.05;
const MAX_MODEL_LEN: usize = 128;
const ROOM: Room = Room {
    num_blocks: 200,
    max_num_batched_tokens: 128,
};

fn ids(value: &Value) -> Vec<u32> {
    serde_json::from_value(value.clone()).unwrap()
}

#[test]
fn it_answers_as_transformers_does() {
    let Some(file) = cached_gguf(GGUF_BYTES) else {
        println!(
            "skipped: no GGUF file of {GGUF_BYTES} bytes (Qwen2.5-Coder-0.5B-Instruct, Q4_K_M) is in \
             the cache (FARTHING_CACHE, or ~/.cache/farthing)"
        );
        return;
    };
    let cases: Vec<Value> =
        serde_json::from_str(include_str!("fixtures/qwen/answers.json")).unwrap();
    let checkpoint =
        farthing_model::Checkpoint::open(&file, farthing_model::LoadFormat::Auto, 0).unwrap();
    let runner = runner_of(&checkpoint, ROOM, MAX_MODEL_LEN);
    let mut served = Served::new(runner, ROOM, MAX_MODEL_LEN);
    let mut sequences = Vec::new();
    for (number, case) in cases.iter().enumerate() {
        let answer = ids(&case["answer"]);
        sequences.push(served.add(number as u64, &ids(&case["ids"]), answer.len(), None));
    }
    let answers = served.run();
    let mut compared = 0;
    for (case, sequence) in cases.iter().zip(sequences) {
        let gaps: Vec<f64> = serde_json::from_value(case["gaps"].clone()).unwrap();
        let clear = gaps.iter().take_while(|gap| **gap > CLEAR_GAP).count();
        let (found, expected) = (&answers[&sequence].tokens, ids(&case["answer"]));
        assert_eq!(found[..clear], expected[..clear], "{}", case["prompt"]);
        compared += clear;
    }
    println!("{compared} tokens of {} answers", cases.len());
    assert!(compared > 200, "only {compared} tokens are clear");
}
