//! Requests that share a budget of device time use at most one step more than it.
#![allow(clippy::unwrap_used, clippy::panic, unreachable_pub)]

mod tiny;

use std::sync::Arc;
use std::time::{Duration, Instant};

use farthing_engine::{
    DeviceBudget, GenerationEvent, GenerationRequest, GenerationStream, Meter, Receipt, StepModel,
};
use farthing_scheduler::FinishReason;
use tiny::{Engine, Scripted, WIDE, collect, greedy, prompt};
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

/// The device time of each step.
const STEP: Duration = Duration::from_millis(1);

fn engine() -> Engine {
    let model = StepModel {
        fixed_seconds: 0.001,
        ..StepModel::default()
    };
    let runner = Scripted {
        step: Some(STEP),
        ..Scripted::default()
    };
    Engine::with_runner(runner, Meter::new(model, None, Instant::now()), WIDE)
}

fn limited(
    seed: u32,
    budget: &Arc<DeviceBudget>,
    receipts: &UnboundedSender<Receipt>,
) -> GenerationRequest {
    GenerationRequest {
        budget: Some(budget.clone()),
        receipts: Some(receipts.clone()),
        ..greedy(prompt(seed, 10), 100)
    }
}

async fn last_event(mut stream: GenerationStream) -> GenerationEvent {
    let mut last = None;
    while let Some(event) = stream.next().await {
        last = Some(event);
    }
    last.unwrap()
}

#[tokio::test]
async fn fifty_requests_together_overrun_by_less_than_a_step() {
    let engine = engine();
    let budget = Arc::new(DeviceBudget::new(0.0075));
    let (sender, mut receipts) = unbounded_channel();
    let streams: Vec<_> = (0..50)
        .map(|seed| engine.handle.submit(limited(seed, &budget, &sender)))
        .collect();
    drop(sender);
    for stream in streams {
        let last = last_event(stream.unwrap()).await;
        assert!(matches!(last, GenerationEvent::OverBudget), "{last:?}");
    }
    let mut seconds = 0.0;
    let mut count = 0;
    while let Some(receipt) = receipts.recv().await {
        assert_eq!(receipt.reason, FinishReason::Abort);
        seconds += receipt.usage.device_seconds;
        count += 1;
    }
    assert_eq!(count, 50);
    assert!((seconds - 0.008).abs() < 1e-9, "{seconds}");
    assert!((budget.left_seconds() + 0.0005).abs() < 1e-9, "{budget:?}");
    let stats = engine.handle.stats();
    assert_eq!(stats.free_blocks, stats.total_blocks);
    assert!((stats.seconds.aborted - 0.008).abs() < 1e-9, "{stats:?}");
    engine.stop();
}

#[tokio::test]
async fn the_neighbours_go_on_and_a_filled_budget_is_used_again() {
    let engine = engine();
    let neighbour = engine.handle.submit(greedy(prompt(1, 10), 100)).unwrap();
    let budget = Arc::new(DeviceBudget::new(0.003));
    let (sender, _receipts) = unbounded_channel();
    let stream = engine.handle.submit(limited(2, &budget, &sender)).unwrap();
    assert!(matches!(
        last_event(stream).await,
        GenerationEvent::OverBudget
    ));
    assert!(budget.is_used_up());
    // Nothing is computed for it now.
    let before = budget.left_seconds();
    let stream = engine.handle.submit(limited(3, &budget, &sender)).unwrap();
    assert!(matches!(
        last_event(stream).await,
        GenerationEvent::OverBudget
    ));
    assert_eq!(budget.left_seconds(), before);
    budget.add(1000.0);
    let stream = engine.handle.submit(limited(4, &budget, &sender)).unwrap();
    assert_eq!(collect(stream, 1).await[0].tokens, [65; 100]);
    assert_eq!(collect(neighbour, 1).await[0].tokens, [65; 100]);
    engine.stop();
}

#[test]
fn a_budget_never_wraps_around() {
    let budget = DeviceBudget::new(f64::INFINITY);
    assert!(!budget.is_used_up());
    budget.add(1e30);
    assert!(!budget.is_used_up());
    budget.add(f64::NEG_INFINITY);
    budget.add(-1e30);
    assert!(budget.is_used_up());
}
