//! Who finds whose prompt in the prefix cache, as `cached_tokens` shows it.
#![allow(clippy::unwrap_used, clippy::panic, unreachable_pub)]

mod tiny;

use farthing_engine::GenerationRequest;
use farthing_scheduler::CacheSalt;
use tiny::{Engine, WIDE, collect, greedy, prompt};

/// The cached tokens of each choice of a request with this salt, and its tokens.
async fn ask(engine: &Engine, salt: Option<u8>, n: usize) -> Vec<(usize, Vec<u32>)> {
    let request = GenerationRequest {
        cache_salt: salt.map(|salt| CacheSalt([salt; 16])),
        n,
        ..greedy(prompt(1, 70), 5)
    };
    let answers = collect(engine.handle.submit(request).unwrap(), n).await;
    let told = answers
        .into_iter()
        .map(|answer| (answer.usage.cached_tokens, answer.tokens));
    told.collect()
}

#[tokio::test]
async fn a_prompt_is_found_only_with_its_salt() {
    let engine = Engine::start(WIDE);
    let mut tokens = None;
    for salt in [None, Some(1), Some(2)] {
        for (repeat, cached) in [(0, 0), (1, 64)] {
            // All choices of a request have its salt.
            for (choice, answer) in ask(&engine, salt, 1 + repeat).await.into_iter().enumerate() {
                assert_eq!(
                    answer.0, cached,
                    "salt {salt:?}, repeat {repeat}, choice {choice}"
                );
                // What is computed does not depend on it.
                assert_eq!(*tokens.get_or_insert(answer.1.clone()), answer.1);
            }
        }
    }
    engine.stop();
}
