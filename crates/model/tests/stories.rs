//! A trained model's greedy tokens (karpathy's tinyllamas 260K, in f32, computed by an independent
//! implementation) are the same alone, in company, in chunks, after a preemption and after a prefix
//! hit. The model is not part of the project; without it the tests say so and pass.
#![allow(clippy::unwrap_used, clippy::panic, unreachable_pub)]

mod served;

use std::{
    fs,
    ops::Range,
    path::{Path, PathBuf},
};

use farthing_scheduler::{FinishReason, SequenceId};
use serde_json::Value;
use served::{Answer, Room, Served, Told, logits, max_difference, runner};

const MAX_MODEL_LEN: usize = 512;
const WIDE: Room = Room {
    num_blocks: 512,
    max_num_batched_tokens: 256,
};

struct Stories {
    directory: PathBuf,
    /// BOS and the tokens that follow it.
    golden: Vec<u32>,
    first_logits: Vec<f32>,
}

impl Stories {
    fn find() -> Option<Self> {
        let directory =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data/stories260k");
        let Ok(golden) = fs::read(directory.join("golden.json")) else {
            println!("skipped: there is no {}", directory.display());
            return None;
        };
        let golden: Value = serde_json::from_slice(&golden).unwrap();
        let numbers = |name: &str| golden[name].as_array().unwrap().iter();
        Some(Self {
            golden: numbers("token_ids")
                .map(|id| id.as_u64().unwrap() as u32)
                .collect(),
            first_logits: numbers("first_logits")
                .map(|x| x.as_f64().unwrap() as f32)
                .collect(),
            directory,
        })
    }

    fn serve(&self, room: Room) -> Served {
        Served::new(runner(&self.directory, room), room, MAX_MODEL_LEN)
    }

    /// Queues the golden text from its first `known` tokens on.
    fn tell(&self, served: &mut Served, id: u64, known: usize) -> SequenceId {
        served.add(id, &self.golden[..known], self.golden.len() - known, None)
    }

    fn is_told(&self, answer: &Answer, known: usize) {
        assert_eq!(answer.tokens, self.golden[known..]);
        assert_eq!(answer.finished, Some(FinishReason::Length));
    }
}

/// Unrelated prompts of many lengths.
fn company(i: u64) -> Vec<u32> {
    let mut state = i.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut next = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        3 + (state >> 33) as u32 % 500
    };
    (0..1 + 5 * i).map(|_| next()).collect()
}

#[test]
fn the_first_logits() {
    let Some(stories) = Stories::find() else {
        return;
    };
    let bos = Told {
        tokens: stories.golden[..1].to_vec(),
        adapter: None,
    };
    let found = logits(&mut runner(&stories.directory, WIDE), &[bos], 1);
    let found = found[0][0][..stories.first_logits.len()].to_vec();
    assert!(max_difference(&[found], std::slice::from_ref(&stories.first_logits)) <= 1e-3);
}

#[test]
fn alone() {
    let Some(stories) = Stories::find() else {
        return;
    };
    let mut served = stories.serve(WIDE);
    let golden = stories.tell(&mut served, 0, 1);
    stories.is_told(&served.run()[&golden], 1);
}

#[test]
fn in_company_of_31_others() {
    let Some(stories) = Stories::find() else {
        return;
    };
    let mut served = stories.serve(WIDE);
    let others = |served: &mut Served, ids: Range<u64>| {
        for i in ids {
            served.add(i, &company(i), 20 + 11 * i as usize, None);
        }
    };
    others(&mut served, 0..17);
    let golden = stories.tell(&mut served, 17, 1);
    others(&mut served, 18..32);
    let answers = served.run();
    stories.is_told(&answers[&golden], 1);
    assert!(
        answers
            .values()
            .all(|answer| answer.finished == Some(FinishReason::Length))
    );
}

#[test]
fn chunked_by_7() {
    let Some(stories) = Stories::find() else {
        return;
    };
    for known in [1, 100] {
        let mut served = stories.serve(Room {
            max_num_batched_tokens: 7,
            ..WIDE
        });
        let golden = stories.tell(&mut served, 0, known);
        stories.is_told(&served.run()[&golden], known);
    }
}

#[test]
fn preempted_half_way() {
    let Some(stories) = Stories::find() else {
        return;
    };
    // Each sequence grows to 13 blocks and there are 14, so the newer one is preempted.
    let mut served = stories.serve(Room {
        num_blocks: 14,
        ..WIDE
    });
    served.add(0, &company(1), stories.golden.len() - 1, None);
    let golden = stories.tell(&mut served, 1, 1);
    let answer = &served.run()[&golden];
    assert!(answer.preemptions > 0, "there was room for both");
    stories.is_told(answer, 1);
}

#[test]
fn after_a_prefix_hit() {
    let Some(stories) = Stories::find() else {
        return;
    };
    let mut served = stories.serve(WIDE);
    stories.tell(&mut served, 0, 1);
    served.run();
    let golden = stories.tell(&mut served, 1, 121);
    let answer = &served.run()[&golden];
    assert_eq!(answer.cached_tokens, 112);
    stories.is_told(answer, 121);
}
