//! Adapters are loaded and unloaded under a running engine. Every answer uses the generation that
//! it requested, a few slots serve many adapters, and the cache of one adapter is never used for
//! another.
#![allow(clippy::unwrap_used, clippy::panic, unreachable_pub)]

mod tiny;

use std::sync::Arc;

use farthing_engine::GenerationRequest;
use farthing_model::LoraAdapter;
use tiny::{Answer, Engine, Room, WIDE, adapter, collect, greedy, prompt};

/// An adapter that was loaded for calibration and removed before serving.
const CALIBRATION: u64 = 1;

fn ask(adapter: &Arc<LoraAdapter>) -> GenerationRequest {
    GenerationRequest {
        adapter: Some(adapter.clone()),
        ..greedy(prompt(1, 40), 30)
    }
}

async fn answer(engine: &Engine, request: GenerationRequest) -> Answer {
    let stream = engine.handle.submit(request).unwrap();
    collect(stream, 1).await.remove(0)
}

/// The answers of each adapter alone.
async fn alone(adapters: &[Arc<LoraAdapter>]) -> Vec<Vec<u32>> {
    let mut answers = Vec::new();
    for adapter in adapters {
        let engine = Engine::start(WIDE);
        answers.push(answer(&engine, ask(adapter)).await.tokens);
        engine.stop();
    }
    answers
}

#[tokio::test]
async fn an_answer_is_wholly_of_the_generation_that_it_asked_for() {
    let generations: Vec<_> = (1..7).map(adapter).collect();
    let expected = alone(&generations).await;
    for (i, tokens) in expected.iter().enumerate() {
        assert!(
            !expected[..i].contains(tokens),
            "two generations say the same"
        );
    }
    let engine = Engine::start(Room {
        max_adapters: 2,
        adapter_slots: 2,
        max_num_seqs: 8,
        ..WIDE
    });
    // Each generation replaces the previous one while that is still in use.
    let mut running = Vec::new();
    for (i, generation) in generations.iter().enumerate() {
        for _ in 0..8 {
            let mut stream = engine.handle.submit(ask(generation)).unwrap();
            running.push((
                i,
                tokio::spawn(async move {
                    let mut tokens = Vec::new();
                    while let Some(event) = stream.next().await {
                        if let farthing_engine::GenerationEvent::Delta { tokens: new, .. } = event {
                            tokens.extend(new.iter().map(|token| token.id));
                        }
                    }
                    tokens
                }),
            ));
        }
        engine.handle.retire_adapter(generation.id());
        tokio::task::yield_now().await;
    }
    for (i, answer) in running {
        assert_eq!(answer.await.unwrap(), expected[i], "generation {i}");
    }
    engine.idle().await;
    let pool = engine.handle.stats().adapter_pool;
    assert_eq!(pool.resident.len(), 0, "a retired generation stayed");
    engine.stop();
    // No unused adapter was kept.
    for generation in generations {
        assert_eq!(Arc::strong_count(&generation), 1);
    }
}

#[tokio::test]
async fn few_slots_serve_many_adapters() {
    let adapters: Vec<_> = (1..8).map(adapter).collect();
    let expected = alone(&adapters).await;
    let engine = Engine::start(Room {
        max_adapters: 2,
        adapter_slots: 2,
        ..WIDE
    });
    let mut running = Vec::new();
    for round in 0..4 {
        for i in 0..adapters.len() {
            let i = (i * (round + 1)) % adapters.len();
            running.push((i, engine.handle.submit(ask(&adapters[i])).unwrap()));
        }
        running.push((7, engine.handle.submit(greedy(prompt(1, 40), 30)).unwrap()));
    }
    let base = {
        let engine = Engine::start(WIDE);
        let base = answer(&engine, greedy(prompt(1, 40), 30)).await;
        engine.stop();
        base.tokens
    };
    let count = running.len() as u64 - 4;
    for (i, stream) in running {
        let expected = expected.get(i).unwrap_or(&base);
        assert_eq!(collect(stream, 1).await[0].tokens, *expected, "adapter {i}");
    }
    let pool = engine.handle.stats().adapter_pool;
    assert_eq!((pool.slots, pool.resident.len()), (2, 2));
    assert_eq!(pool.hits + pool.misses, count + CALIBRATION);
    assert!(pool.evictions >= 5, "{pool:?}");
    assert_eq!(pool.loads, pool.evictions + 2 + CALIBRATION);
    engine.stop();
}

#[tokio::test]
async fn a_new_generation_never_meets_the_old_ones_cache() {
    let [old, new] = [adapter(1), adapter(2)];
    let expected = alone(&[old.clone(), new.clone()]).await;
    let engine = Engine::start(WIDE);
    for (generation, tokens, cached_tokens) in [
        (&old, &expected[0], 0),
        (&new, &expected[1], 0),
        (&old, &expected[0], 32),
        (&new, &expected[1], 32),
    ] {
        let answer = answer(&engine, ask(generation)).await;
        assert_eq!(
            (&answer.tokens, answer.usage.cached_tokens),
            (tokens, cached_tokens)
        );
    }
    engine.stop();
}

#[tokio::test]
async fn an_adapter_can_be_on_the_device_before_its_first_request() {
    let engine = Engine::start(WIDE);
    let early = adapter(1);
    engine.handle.prefetch_adapter(early.clone());
    assert_eq!(answer(&engine, ask(&early)).await.tokens.len(), 30);
    let pool = engine.handle.stats().adapter_pool;
    assert_eq!((pool.hits, pool.misses), (1, CALIBRATION));
    assert_eq!(pool.loads, 1 + CALIBRATION);
    engine.handle.retire_adapter(early.id());
    // The engine handles commands in order.
    answer(&engine, greedy(prompt(1, 4), 1)).await;
    assert_eq!(engine.handle.stats().adapter_pool.resident.len(), 0);
    engine.stop();
}
