//! Callers that do not read: their sequences end, their places are free, and what waits for them is
//! limited.
#![allow(clippy::unwrap_used, clippy::panic, unreachable_pub)]

mod tiny;

use farthing_engine::{GenerationEvent, GenerationRequest, GenerationStream, Receipt};
use farthing_scheduler::FinishReason;
use tiny::{Engine, Room, WIDE, collect, greedy, prompt};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

/// A request for as much as one choice can produce: the logprobs are most of it.
fn verbose(n: usize) -> GenerationRequest {
    let mut request = greedy(prompt(1, 10), 200);
    request.n = n;
    request.sampling.logprobs = Some(20);
    request
}

/// Bytes that 200 tokens with 21 log-probabilities of 8 bytes take at least.
const LEAST_BYTES: usize = 200 * 21 * 8;

/// Submits a request, and returns its stream and the receipts, which come although nobody reads.
fn submit(
    engine: &Engine,
    mut request: GenerationRequest,
) -> (GenerationStream, UnboundedReceiver<Receipt>) {
    let (sender, receipts) = unbounded_channel();
    request.receipts = Some(sender);
    (engine.handle.submit(request).unwrap(), receipts)
}

/// Waits for the end of all choices.
async fn end(mut receipts: UnboundedReceiver<Receipt>) -> Vec<Receipt> {
    let mut all = Vec::new();
    while let Some(receipt) = receipts.recv().await {
        all.push(receipt);
    }
    all
}

async fn read_to_end(stream: &mut GenerationStream) -> Vec<GenerationEvent> {
    let mut events = Vec::new();
    while let Some(event) = stream.next().await {
        events.push(event);
    }
    events
}

#[tokio::test]
async fn a_place_is_free_when_its_sequence_ends_although_nobody_reads() {
    let engine = Engine::start(Room {
        max_queued_sequences: 4,
        ..WIDE
    });
    let mut unread = Vec::new();
    for _ in 0..3 {
        let mut request = greedy(prompt(1, 10), 20);
        request.n = 4;
        let (stream, receipts) = submit(&engine, request);
        unread.push(stream);
        assert_eq!(end(receipts).await.len(), 4);
    }
    assert!(engine.handle.stats().unread_bytes > 0);
    for stream in unread {
        let answers = collect(stream, 4).await;
        assert!(answers.iter().all(|answer| answer.tokens.len() == 20));
    }
    assert_eq!(engine.handle.stats().unread_bytes, 0);
    engine.stop();
}

#[tokio::test]
async fn an_unread_answer_waits_whole_below_the_limit() {
    let engine = Engine::start(WIDE);
    let mut streams = Vec::new();
    for _ in 0..3 {
        let (stream, receipts) = submit(&engine, verbose(4));
        streams.push(stream);
        end(receipts).await;
    }
    let waiting = engine.handle.stats().unread_bytes;
    assert!(waiting >= 12 * LEAST_BYTES, "{waiting} bytes");
    drop(streams.pop());
    assert!(engine.handle.stats().unread_bytes < waiting);
    for stream in streams {
        for answer in collect(stream, 4).await {
            assert_eq!(
                (answer.tokens.len(), answer.reason),
                (200, Some(FinishReason::Length))
            );
        }
    }
    let stats = engine.handle.stats();
    assert_eq!((stats.unread_bytes, stats.cut_off_requests), (0, 0));
    engine.stop();
}

#[tokio::test]
async fn a_request_that_nobody_reads_is_cut_off_at_its_share() {
    // A request may have a sixteenth: less than half of one choice.
    let limit = 16 * LEAST_BYTES / 2;
    let engine = Engine::start(Room {
        max_unread_bytes: limit,
        ..WIDE
    });
    let (mut stream, receipts) = submit(&engine, verbose(2));
    let receipts = end(receipts).await;
    let stats = engine.handle.stats();
    assert_eq!((stats.cut_off_requests, stats.unread_bytes), (1, 0));
    assert!(stats.generation_tokens < 400 && stats.seconds.aborted > 0.0);

    let events = read_to_end(&mut stream).await;
    assert!(matches!(events.as_slice(), [GenerationEvent::CutOff]));
    assert_eq!(receipts.len(), 2);
    assert!(receipts.iter().all(|it| it.reason == FinishReason::Abort));
    let charged: f64 = receipts.iter().map(|it| it.usage.device_seconds).sum();
    assert!((charged - stats.attributed_seconds).abs() < 1e-9);
    assert!((charged - stats.seconds.steps).abs() < 1e-9);
    // It holds a handle of the engine, whose end is awaited below.
    drop(stream);
    engine.stop();
}

#[tokio::test]
async fn beyond_the_limit_the_slowest_is_cut_off_and_readers_are_not() {
    // Each request stays below its sixteenth; twenty of them do not fit together.
    let limit = 16 * (2 * LEAST_BYTES);
    let engine = Engine::start(Room {
        max_unread_bytes: limit,
        max_num_seqs: 64,
        ..WIDE
    });
    let unread: Vec<_> = (0..40).map(|_| submit(&engine, verbose(1))).collect();
    let read = collect(engine.handle.submit(verbose(1)).unwrap(), 1).await;
    assert_eq!(read[0].tokens.len(), 200);
    let mut streams = Vec::new();
    for (stream, receipts) in unread {
        assert_eq!(end(receipts).await.len(), 1);
        streams.push(stream);
    }
    // The last step's requests are cut off after their receipts.
    while engine.handle.stats().unread_bytes > limit {
        tokio::task::yield_now().await;
    }
    let mut cut_off = 0;
    for mut stream in streams {
        match read_to_end(&mut stream).await.last().unwrap() {
            GenerationEvent::CutOff => cut_off += 1,
            GenerationEvent::Finished { .. } => {}
            other => panic!("{other:?}"),
        }
    }
    assert!((1..40).contains(&cut_off), "{cut_off} were cut off");
    // The next request's step publishes the counter.
    collect(engine.handle.submit(greedy(prompt(2, 5), 2)).unwrap(), 1).await;
    assert_eq!(engine.handle.stats().cut_off_requests, cut_off);
    engine.stop();
}
