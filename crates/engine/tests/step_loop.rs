//! Alone = in company; chunked = whole; resumed = uninterrupted; cached = uncached; seconds add up.
//! The model is random, so its logits are close together, but everything is f32: the order of sums
//! does not change greedy tokens here.
#![allow(clippy::unwrap_used, clippy::panic, unreachable_pub)]

mod tiny;

use std::time::Instant;

use farthing_engine::{GenerationEvent, Meter, StepModel, SubmitError};
use farthing_model::ModelError;
use farthing_scheduler::{FinishReason, SamplingParams};
use tiny::{ATTEMPTS, Engine, MAX_MODEL_LEN, Room, Scripted, WIDE, collect, greedy, prompt};

async fn tokens_alone(prompt: Vec<u32>, max_tokens: usize) -> Vec<u32> {
    let engine = Engine::start(WIDE);
    let stream = engine.handle.submit(greedy(prompt, max_tokens)).unwrap();
    let answers = collect(stream, 1).await;
    engine.stop();
    answers[0].tokens.clone()
}

#[tokio::test]
async fn alone_equals_in_company() {
    let alone = tokens_alone(prompt(1, 40), 60).await;
    assert_eq!(alone.len(), 60);

    let engine = Engine::start(WIDE);
    let company: Vec<_> = (2..20)
        .map(|seed| {
            engine
                .handle
                .submit(greedy(prompt(seed, 3 + seed as usize * 7), 50))
                .unwrap()
        })
        .collect();
    let stream = engine.handle.submit(greedy(prompt(1, 40), 60)).unwrap();
    let together = collect(stream, 1).await;
    drop(company);
    assert_eq!(together[0].tokens, alone);
    engine.stop();
}

#[tokio::test]
async fn chunked_equals_whole() {
    let whole = tokens_alone(prompt(1, 90), 30).await;
    let engine = Engine::start(Room {
        max_num_batched_tokens: 7,
        max_num_seqs: 7,
        ..WIDE
    });
    let stream = engine.handle.submit(greedy(prompt(1, 90), 30)).unwrap();
    assert_eq!(collect(stream, 1).await[0].tokens, whole);
    engine.stop();
}

#[tokio::test]
async fn resumed_equals_uninterrupted() {
    let alone = [
        tokens_alone(prompt(1, 40), 150).await,
        tokens_alone(prompt(2, 40), 150).await,
    ];
    for _ in 0..ATTEMPTS {
        // Each sequence needs 12 blocks at its end; together they have 16.
        let engine = Engine::start(Room {
            num_blocks: 16,
            ..WIDE
        });
        let streams =
            [1, 2].map(|seed| engine.handle.submit(greedy(prompt(seed, 40), 150)).unwrap());
        let [first, second] = streams;
        let (first, second) = tokio::join!(collect(first, 1), collect(second, 1));
        assert_eq!(
            [&first[0].tokens, &second[0].tokens],
            [&alone[0], &alone[1]]
        );
        let preemptions = first[0].usage.preemptions + second[0].usage.preemptions;
        assert_eq!(engine.handle.stats().preemptions, preemptions as u64);
        engine.stop();
        if preemptions > 0 {
            return;
        }
    }
    panic!("no sequence was ever preempted");
}

#[tokio::test]
async fn cached_equals_uncached() {
    let engine = Engine::start(WIDE);
    let mut answers = Vec::new();
    for _ in 0..2 {
        let stream = engine.handle.submit(greedy(prompt(1, 100), 20)).unwrap();
        answers.extend(collect(stream, 1).await);
    }
    assert_eq!(answers[0].tokens, answers[1].tokens);
    assert_eq!(
        [
            answers[0].usage.cached_tokens,
            answers[1].usage.cached_tokens
        ],
        [0, 96]
    );
    engine.stop();
}

#[tokio::test]
async fn the_same_seed_gives_the_same_tokens_in_any_company() {
    let sampled = |seed| {
        let mut request = greedy(prompt(3, 20), 40);
        request.sampling = SamplingParams {
            seed,
            ..SamplingParams::default()
        };
        request
    };
    let engine = Engine::start(WIDE);
    let alone = collect(engine.handle.submit(sampled(11)).unwrap(), 1).await;
    let company: Vec<_> = (0..8)
        .map(|seed| engine.handle.submit(sampled(seed)).unwrap())
        .collect();
    let together = collect(engine.handle.submit(sampled(11)).unwrap(), 1).await;
    let other = collect(engine.handle.submit(sampled(12)).unwrap(), 1).await;
    drop(company);
    assert_eq!(alone[0].tokens, together[0].tokens);
    assert_ne!(alone[0].tokens, other[0].tokens);
    engine.stop();
}

/// Choice `i` of `n` equals the answer to a single request with seed + i.
#[tokio::test]
async fn choices_are_independent_and_reproducible() {
    let engine = Engine::start(WIDE);
    let mut request = greedy(prompt(3, 20), 25);
    request.sampling = SamplingParams {
        seed: 40,
        ..SamplingParams::default()
    };
    request.n = 3;
    let choices = collect(engine.handle.submit(request.clone()).unwrap(), 3).await;
    request.n = 1;
    for (i, choice) in choices.iter().enumerate() {
        request.sampling.seed = 40 + i as u64;
        let single = collect(engine.handle.submit(request.clone()).unwrap(), 1).await;
        assert_eq!(single[0].tokens, choice.tokens);
        assert_eq!(choice.reason, Some(FinishReason::Length));
    }
    engine.stop();
}

#[tokio::test]
async fn a_stop_string_ends_the_text_before_it() {
    let engine = Engine::start(WIDE);
    // Bytes below 128 are text of one character: prefer them, so that the text is readable.
    let mut request = greedy(prompt(5, 30), 60);
    request.sampling.logit_bias = (32..127).map(|token| (token, 100.0)).collect();
    let whole = collect(engine.handle.submit(request.clone()).unwrap(), 1)
        .await
        .remove(0);
    assert_eq!(whole.text.len(), 60);

    let stop = whole.text[20..24].to_owned();
    let end = whole.text.find(&stop).unwrap();
    request.stop = vec![stop];
    let stopped = collect(engine.handle.submit(request).unwrap(), 1)
        .await
        .remove(0);
    assert_eq!(stopped.text, whole.text[..end]);
    assert_eq!(stopped.reason, Some(FinishReason::Stop));
    assert_eq!(stopped.usage.completion_tokens, end + 4);
    assert!(stopped.usage.device_seconds > 0.0);
    engine.stop();
}

/// The log-probabilities of a prompt do not depend on how it is divided into steps, and a choice's
/// text waits for them.
#[tokio::test]
async fn prompt_logprobs_come_first_and_whole() {
    let mut told = Vec::new();
    for max_num_batched_tokens in [256, 5] {
        let room = Room {
            max_num_batched_tokens,
            max_num_seqs: 4,
            ..WIDE
        };
        let engine = Engine::start(room);
        let mut request = greedy(prompt(6, 33), 3);
        request.prompt_logprobs = Some(2);
        request.n = 2;
        let mut stream = engine.handle.submit(request).unwrap();
        let Some(GenerationEvent::Prompt(tokens)) = stream.next().await else {
            panic!("the prompt is told first");
        };
        assert_eq!(tokens.len(), 33);
        assert!(tokens[0].logprobs.is_none());
        told.push(tokens);
        engine.stop_after(stream).await;
    }
    for (whole, chunked) in told[0].iter().zip(&told[1]).skip(1) {
        let (whole, chunked) = (
            whole.logprobs.as_ref().unwrap(),
            chunked.logprobs.as_ref().unwrap(),
        );
        assert_eq!(whole.chosen.token, chunked.chosen.token);
        assert!((whole.chosen.logprob - chunked.chosen.logprob).abs() < 1e-4);
        assert_eq!(whole.top.len(), 2);
        assert!(whole.top[0].logprob >= whole.top[1].logprob);
    }
}

/// Σ attributed seconds = Σ step seconds, over finished, aborted and preempted sequences.
#[tokio::test]
async fn seconds_add_up_and_blocks_come_back() {
    let near = |a: f64, b: f64| (a - b).abs() <= 1e-9 * b;
    for _ in 0..ATTEMPTS {
        let engine = Engine::start(Room {
            num_blocks: 24,
            ..WIDE
        });
        let mut finished_seconds = 0.0;
        for round in 0..6 {
            finished_seconds += mixed_load(&engine, round).await;
        }
        engine.idle().await;
        let stats = engine.handle.stats();
        assert!(
            near(stats.attributed_seconds, stats.seconds.steps),
            "{stats:?}"
        );
        assert_eq!(stats.free_blocks, stats.total_blocks);
        engine.stop();
        // An answer that was complete when its caller left is neither delivered nor aborted.
        let aborted_seconds = stats.seconds.aborted;
        let all_told = near(finished_seconds + aborted_seconds, stats.seconds.steps);
        if all_told && aborted_seconds > 0.0 && stats.preemptions > 0 {
            return;
        }
    }
    panic!("the callers' seconds and the aborted ones never added up to the steps'");
}

/// Twelve callers: two leave at once, three in the middle of their answer. Returns the seconds of
/// those who stay.
async fn mixed_load(engine: &Engine, round: u32) -> f64 {
    let submit = |i| {
        let seed = round * 12 + i;
        let len = 1 + (seed as usize * 31) % 120;
        let max_tokens = match i {
            0..7 => 1 + (seed as usize * 17) % 90,
            _ => MAX_MODEL_LEN - len,
        };
        let request = greedy(prompt(seed, len), max_tokens);
        engine.handle.submit(request).unwrap()
    };
    let mut streams: Vec<_> = (0..12).map(submit).collect();
    streams.truncate(10);
    for stream in &mut streams[7..] {
        stream.next().await;
    }
    streams.truncate(7);
    let mut seconds = 0.0;
    for stream in streams {
        seconds += collect(stream, 1).await[0].usage.device_seconds;
    }
    seconds
}

#[tokio::test]
async fn a_dropped_stream_frees_its_sequence() {
    for _ in 0..ATTEMPTS {
        let engine = Engine::start(WIDE);
        let mut stream = engine.handle.submit(greedy(prompt(1, 50), 200)).unwrap();
        stream.next().await.unwrap();
        let running = engine.handle.stats();
        drop(stream);
        engine.idle().await;
        let stats = engine.handle.stats();
        assert_eq!(stats.free_blocks, stats.total_blocks);
        engine.stop();
        if running.free_blocks < running.total_blocks && stats.generation_tokens < 200 {
            assert!(stats.seconds.aborted > 0.0);
            return;
        }
    }
    panic!("the answer was always complete before its caller could leave");
}

#[tokio::test]
async fn a_full_queue_refuses_and_recovers() {
    let engine = Engine::start(Room {
        max_queued_sequences: 2,
        ..WIDE
    });
    let mut too_many = greedy(prompt(1, 10), 1);
    too_many.n = 3;
    let refused = engine.handle.submit(too_many).err();
    assert!(matches!(refused, Some(SubmitError::QueueFull { limit: 2 })));
    let submit = |seed| engine.handle.submit(greedy(prompt(seed, 10), 240));
    let is_full = |_| {
        let running = [submit(1), submit(2)];
        let refused = submit(3).err();
        drop(running);
        matches!(refused, Some(SubmitError::QueueFull { limit: 2 }))
    };
    assert!((0..ATTEMPTS).any(is_full));
    // A place is free as soon as the engine has heard that its caller left.
    let third = loop {
        match engine.handle.submit(greedy(prompt(3, 10), 5)) {
            Ok(third) => break third,
            Err(_) => tokio::task::yield_now().await,
        }
    };
    assert_eq!(collect(third, 1).await[0].tokens.len(), 5);
    engine.stop();
}

#[tokio::test]
async fn what_can_never_fit_is_refused() {
    let engine = Engine::start(WIDE);
    let refused = engine
        .handle
        .submit(greedy(prompt(1, MAX_MODEL_LEN), 1))
        .err();
    assert!(matches!(
        refused,
        Some(SubmitError::TooLong { max_tokens: 1, .. })
    ));
    let refused = engine.handle.submit(greedy(prompt(1, 200), 57)).err();
    assert!(matches!(refused, Some(SubmitError::TooLong { .. })));
    let stream = engine.handle.submit(greedy(prompt(1, 200), 56)).unwrap();
    assert_eq!(collect(stream, 1).await[0].tokens.len(), 56);
    engine.stop();
}

fn scripted(failures: impl IntoIterator<Item = Option<ModelError>>) -> Engine {
    let runner = Scripted {
        failures: failures.into_iter().collect(),
        ..Scripted::default()
    };
    let model = StepModel {
        fixed_seconds: 1.0,
        ..StepModel::default()
    };
    let meter = Meter::new(model, None, Instant::now());
    Engine::with_runner(runner, meter, WIDE)
}

#[tokio::test]
async fn a_failed_step_fails_its_rows_and_the_engine_lives_on() {
    let engine = scripted([None, Some(ModelError::UnknownAdapter)]);
    let mut stream = engine.handle.submit(greedy(prompt(1, 10), 5)).unwrap();
    let mut last = None;
    while let Some(event) = stream.next().await {
        last = Some(event);
    }
    let Some(GenerationEvent::Failed { message }) = last else {
        panic!("{last:?}");
    };
    assert_eq!(message, ModelError::UnknownAdapter.to_string());
    // It holds a handle of the engine, whose end is awaited below.
    drop(stream);
    assert!(engine.handle.is_alive());
    let stream = engine.handle.submit(greedy(prompt(2, 10), 5)).unwrap();
    assert_eq!(collect(stream, 1).await[0].tokens, [65; 5]);
    engine.stop();
}

/// A penalty that makes a logit infinite fails its own request. The others in the batch get the tokens
/// that they get alone, and the account is settled.
#[tokio::test]
async fn a_numeric_fault_fails_its_own_request_only() {
    let alone = tokens_alone(prompt(1, 40), 60).await;
    let engine = Engine::start(WIDE);
    let stream = engine.handle.submit(greedy(prompt(1, 40), 60)).unwrap();
    let good = tokio::spawn(collect(stream, 1));
    for seed in 2..6 {
        let mut request = greedy(prompt(seed, 20), 30);
        request.sampling.repetition_penalty = 1e-44;
        let mut stream = engine.handle.submit(request).unwrap();
        let mut last = None;
        while let Some(event) = stream.next().await {
            last = Some(event);
        }
        let Some(GenerationEvent::Failed { message }) = last else {
            panic!("{last:?}");
        };
        assert_eq!(message, "its highest logit is not finite");
    }
    assert_eq!(good.await.unwrap()[0].tokens, alone);
    engine.idle().await;
    let stats = engine.handle.stats();
    assert_eq!(stats.free_blocks, stats.total_blocks);
    assert_eq!(stats.failed_step_seconds, 0.0);
    assert!(stats.seconds.failed > 0.0, "{:?}", stats.seconds);
    engine.stop();
}

#[tokio::test]
async fn a_lost_device_ends_the_engine() {
    let lost = ModelError::DeviceLost("illegal address".to_owned());
    let engine = scripted([None, Some(lost)]);
    let mut stream = engine.handle.submit(greedy(prompt(1, 10), 5)).unwrap();
    let mut last = None;
    while let Some(event) = stream.next().await {
        last = Some(event);
    }
    let Some(GenerationEvent::Failed { message }) = last else {
        panic!("{last:?}");
    };
    assert!(message.contains("the device is lost"), "{message}");
    engine.handle.closed().await;
    assert!(!engine.handle.is_alive());
    let refused = engine.handle.submit(greedy(prompt(2, 10), 5)).err();
    assert!(matches!(refused, Some(SubmitError::EngineDead)));
}
