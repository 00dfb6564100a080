//! Every second is attributed: to a sequence or a named bucket, and to a class of token.
#![allow(clippy::unwrap_used, clippy::panic, unreachable_pub)]

mod tiny;

use std::sync::Arc;
use std::thread;

use farthing_engine::{
    DeviceSeconds, EngineStats, GenerationRequest, GenerationStream, Receipt, TokenCounts,
    TokenSeconds,
};
use farthing_model::LoraAdapter;
use farthing_scheduler::FinishReason;
use tiny::{ATTEMPTS, Engine, MAX_MODEL_LEN, Room, WIDE, adapter, greedy, prompt};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

fn near(a: f64, b: f64) -> bool {
    (a - b).abs() <= 1e-9 * a.abs().max(b.abs())
}

/// The sums over all receipts.
#[derive(Default)]
struct Sum {
    finished: f64,
    aborted: f64,
    failed: f64,
    by_kind: TokenSeconds,
    cached_tokens: usize,
}

impl Sum {
    async fn of(mut receipts: UnboundedReceiver<Receipt>) -> Self {
        let mut sum = Self::default();
        while let Some(receipt) = receipts.recv().await {
            let usage = receipt.usage;
            *match receipt.reason {
                FinishReason::Stop | FinishReason::Length => &mut sum.finished,
                FinishReason::Abort => &mut sum.aborted,
                FinishReason::Error => &mut sum.failed,
            } += usage.device_seconds;
            sum.by_kind += usage.token_seconds;
            // If the first step failed, no cached token was used.
            if usage.token_seconds.total() > 0.0 {
                sum.cached_tokens += usage.cached_tokens;
            }
        }
        sum
    }

    fn check(&self, stats: &EngineStats) {
        let seconds = &stats.seconds;
        // 1: the seconds of rows are those of steps.
        let attributed = self.finished + self.aborted + self.failed;
        assert!(near(attributed, seconds.steps), "{attributed} {stats:?}");
        assert!(near(stats.attributed_seconds, seconds.steps), "{stats:?}");
        // 2: the seconds of answers and buckets are those of the window.
        let DeviceSeconds {
            window,
            warm_up,
            adapter_load,
            idle,
            host,
            aborted,
            failed,
            ..
        } = *seconds;
        let buckets = self.finished + aborted + failed + idle + host + warm_up + adapter_load;
        assert!(near(buckets, window), "{buckets} {stats:?}");
        assert!(near(aborted, self.aborted) && near(failed, self.failed));
        // 3: prices times tokens are the attributed seconds.
        let TokenCounts {
            input,
            cached,
            output,
        } = stats.tokens;
        let priced = |seconds: f64, tokens: u64| match tokens {
            0 => 0.0,
            tokens => seconds / tokens as f64 * tokens as f64,
        };
        let by_kind = priced(stats.token_seconds.input, input)
            + priced(stats.token_seconds.cached, cached)
            + priced(stats.token_seconds.output, output);
        assert!(
            near(by_kind + stats.failed_step_seconds, seconds.steps),
            "{stats:?}"
        );
        assert!(near(self.by_kind.total(), stats.token_seconds.total()));
        assert_eq!(cached, self.cached_tokens as u64);
    }
}

/// Thirty callers use the base model and an adapter, with prompts that others had before. Some
/// leave at once and some in the middle. Some request a second adapter, which fails the step that
/// it shares with the first, because the device has one slot.
async fn mixed_load(engine: &Engine, round: u32) -> Sum {
    let (sender, receipts) = unbounded_channel();
    let second: Arc<LoraAdapter> = adapter(9);
    let submit = |i: u32| {
        let seed = round * 7 + i % 11;
        let len = 17 + (seed as usize * 31) % 120;
        let adapter = match i % 15 {
            3 | 4 | 8 => Some(engine.adapter.clone()),
            14 => Some(second.clone()),
            _ => None,
        };
        let long = MAX_MODEL_LEN - len;
        let request = GenerationRequest {
            adapter,
            receipts: Some(sender.clone()),
            ..greedy(
                prompt(seed, len),
                [long, 1 + (i as usize * 17) % 60][(i % 2) as usize],
            )
        };
        engine.handle.submit(request).unwrap()
    };
    let mut streams: Vec<GenerationStream> = Vec::new();
    for i in 0..30 {
        streams.push(submit(i));
        if i % 4 == 0 {
            let mut leaves = streams.swap_remove(i as usize % streams.len());
            if i % 8 == 0 {
                leaves.next().await;
            }
        }
    }
    let readers = streams
        .into_iter()
        .map(|mut stream| async move { while stream.next().await.is_some() {} });
    for reader in readers {
        reader.await;
    }
    drop(sender);
    Sum::of(receipts).await
}

/// In a mix of aborts, failures, adapters, prefix hits and preemptions, each second is booked once
/// in all three sums.
#[tokio::test]
async fn three_sums_agree_over_any_mix() {
    let mut seen = [false; 6];
    for round in 0..ATTEMPTS as u32 {
        let engine = Engine::start(Room {
            num_blocks: 40,
            adapter_slots: 1,
            ..WIDE
        });
        let sum = mixed_load(&engine, round).await;
        let stats = engine.handle.stats();
        sum.check(&stats);
        let happened = [
            stats.failed_step_seconds > 0.0 && sum.failed > 0.0,
            sum.aborted > 0.0,
            sum.cached_tokens > 0,
            stats.preemptions > 0,
            sum.finished > 0.0,
            stats.seconds.adapter_load > 0.0,
        ];
        for (seen, happened) in seen.iter_mut().zip(happened) {
            *seen |= happened;
        }
        engine.stop();
        if round >= 3 && seen == [true; 6] {
            return;
        }
    }
    panic!("failed, aborted, cached, preempted, finished, loaded: only {seen:?} ever happened");
}

/// Idle time grows while nothing runs, and the sum holds at every moment.
#[tokio::test]
async fn the_window_is_whole_at_every_moment() {
    let engine = Engine::start(WIDE);
    let whole = |stats: &EngineStats| {
        let DeviceSeconds {
            window,
            warm_up,
            adapter_load,
            idle,
            host,
            steps,
            ..
        } = stats.seconds;
        assert!(near(warm_up + adapter_load + idle + host + steps, window));
        stats.seconds
    };
    let mut stream = engine.handle.submit(greedy(prompt(1, 40), 100)).unwrap();
    let mut before = whole(&engine.handle.stats());
    while stream.next().await.is_some() {
        let now = whole(&engine.handle.stats());
        assert!(now.window >= before.window && now.idle >= before.idle);
        assert!(now.steps >= before.steps && now.host >= before.host);
        before = now;
    }
    drop(stream);
    engine.idle().await;
    let before = whole(&engine.handle.stats());
    let later = loop {
        let later = whole(&engine.handle.stats());
        if later.idle > before.idle {
            break later;
        }
    };
    assert!(later.window > before.window);
    assert_eq!(later.steps, before.steps);
    engine.stop();
}

const LOOKS: usize = 200_000;

/// No reader sees a second move to another bucket, such as idle time that becomes step time.
#[tokio::test]
async fn no_bucket_ever_shrinks() {
    let engine = Engine::start(WIDE);
    let handle = engine.handle.clone();
    let watcher = thread::spawn(move || {
        let mut before = handle.stats().seconds;
        for _ in 0..LOOKS {
            let now = handle.stats().seconds;
            for (before, now) in [
                (before.idle, now.idle),
                (before.host, now.host),
                (before.steps, now.steps),
                (before.adapter_load, now.adapter_load),
            ] {
                assert!(now >= before, "{before:?} {now:?}");
            }
            before = now;
        }
    });
    // However the threads are scheduled: until it has looked often enough, or has seen a violation.
    for round in 0.. {
        if watcher.is_finished() {
            break;
        }
        let mut stream = engine.handle.submit(greedy(prompt(round, 40), 3)).unwrap();
        while stream.next().await.is_some() {}
        drop(stream);
        engine.idle().await;
    }
    watcher.join().unwrap();
    engine.stop();
}

/// Everything before the end of the warm-up counts as warm-up, including tokens and steps.
#[tokio::test]
async fn warm_up_ends_with_clean_books() {
    let engine = Engine::start(WIDE);
    let mut stream = engine.handle.submit(greedy(prompt(1, 40), 5)).unwrap();
    while stream.next().await.is_some() {}
    drop(stream);
    let warm = engine.handle.stats();
    assert!(warm.seconds.steps > 0.0 && warm.tokens.output == 5);
    engine.handle.end_warm_up();
    while engine.handle.stats().steps > 0 {
        tokio::task::yield_now().await;
    }
    let stats = engine.handle.stats();
    assert!(stats.seconds.warm_up >= warm.seconds.window);
    assert_eq!(stats.seconds.steps, 0.0);
    assert_eq!(stats.tokens, TokenCounts::default());
    assert_eq!(stats.attributed_seconds, 0.0);
    engine.stop();
}
