//! How sequences end.

use std::sync::Arc;

use farthing_scheduler::{
    FinishReason, SampledToken, Scheduler, SchedulerConfig, SequenceId, SequenceRequest,
};

use crate::simulation::{Simulation, StepEnd, request};

const CONFIG: SchedulerConfig = SchedulerConfig {
    block_size: 4,
    num_blocks: 16,
    max_num_seqs: 4,
    max_num_batched_tokens: 8,
    max_model_len: 32,
    max_adapters: 2,
};

fn token(token: u32) -> SampledToken {
    SampledToken {
        token: Some(token),
        ..Default::default()
    }
}

#[test]
fn a_stop_token_is_the_last_that_counts() {
    let mut scheduler = Scheduler::new(CONFIG).unwrap();
    let stop_token_ids = Arc::new([5, 9]);
    scheduler
        .add(SequenceRequest {
            stop_token_ids,
            ..request(0, &[1], 10)
        })
        .unwrap();

    let batch = scheduler.schedule().unwrap();
    assert_eq!(scheduler.commit(batch, vec![token(4)])[0].finished, None);
    let batch = scheduler.schedule().unwrap();
    let outputs = scheduler.commit(batch, vec![token(9)]);
    assert_eq!(outputs[0].sampled.token, Some(9));
    assert_eq!(outputs[0].finished, Some(FinishReason::Stop));
    assert!(scheduler.is_idle());
}

#[test]
fn a_stop_token_in_the_prompt_stops_nothing() {
    let mut scheduler = Scheduler::new(CONFIG).unwrap();
    let stop_token_ids = Arc::new([5]);
    scheduler
        .add(SequenceRequest {
            stop_token_ids,
            ..request(0, &[5, 5], 2)
        })
        .unwrap();
    let batch = scheduler.schedule().unwrap();
    assert_eq!(scheduler.commit(batch, vec![token(1)])[0].finished, None);
}

#[test]
fn stopping_at_the_last_token_is_a_stop() {
    let mut scheduler = Scheduler::new(CONFIG).unwrap();
    let stop_token_ids = Arc::new([5]);
    scheduler
        .add(SequenceRequest {
            stop_token_ids,
            ..request(0, &[1], 1)
        })
        .unwrap();
    let batch = scheduler.schedule().unwrap();
    assert_eq!(
        scheduler.commit(batch, vec![token(5)])[0].finished,
        Some(FinishReason::Stop)
    );
}

#[test]
fn nothing_to_generate_computes_the_prompt_and_tells_it() {
    let mut simulation = Simulation::new(CONFIG);
    let prompt: Vec<u32> = (0..20).collect();
    simulation
        .add(SequenceRequest {
            prompt_logprobs: Some(0),
            ..request(0, &prompt, 0)
        })
        .unwrap();
    let rows: Vec<_> = (0..3)
        .flat_map(|_| simulation.step(StepEnd::Commit, &[]))
        .collect();
    assert!(rows.iter().all(|row| row.sample.is_none()));
    assert_eq!(simulation.life(0).finished, Some(FinishReason::Length));
    simulation.drain();
}

#[test]
fn a_sequence_aborted_in_flight_keeps_its_blocks_until_its_row_is_back() {
    let mut scheduler = Scheduler::new(CONFIG).unwrap();
    scheduler.add(request(0, &[1, 2, 3, 4, 5], 10)).unwrap();
    let batch = scheduler.schedule().unwrap();
    assert!(scheduler.abort(SequenceId(0)));
    assert!(!scheduler.abort(SequenceId(0)));
    assert_eq!(scheduler.stats().free_blocks, 14);

    let outputs = scheduler.commit(batch, vec![token(7)]);
    assert_eq!(outputs[0].finished, Some(FinishReason::Abort));
    assert_eq!(outputs[0].sampled, SampledToken::default());
    assert_eq!(scheduler.stats().free_blocks, 16);
    assert!(scheduler.is_idle());
}

#[test]
fn a_failed_step_ends_its_own_sequences_only() {
    let mut simulation = Simulation::new(CONFIG);
    simulation.add(request(0, &[1; 6], 3)).unwrap();
    simulation.add(request(1, &[2; 4], 3)).unwrap();
    simulation.step(StepEnd::Commit, &[]);
    simulation.step(StepEnd::Commit, &[]);
    simulation.add(request(2, &[3; 4], 3)).unwrap();
    simulation.abort(SequenceId(1));
    simulation.add(request(3, &[3; 9], 3)).unwrap();

    // The step has 8 tokens: all of 0 and of 2, and the first three of 3.
    let rows = simulation.step(StepEnd::Fail, &[]);
    assert_eq!(rows.len(), 3);
    simulation.add(request(4, &[3; 9], 3)).unwrap();
    simulation.drain();
    let ends: Vec<_> = (0..5)
        .map(|id| simulation.life(id).finished.unwrap())
        .collect();
    use FinishReason::{Abort, Error, Length};
    assert_eq!(ends, [Error, Abort, Error, Error, Length]);
    assert_eq!(
        simulation.life(4).first_start,
        0,
        "nothing of the failed step was found"
    );
}

#[test]
fn a_row_without_its_token_is_an_error() {
    let mut scheduler = Scheduler::new(CONFIG).unwrap();
    scheduler.add(request(0, &[1; 9], 3)).unwrap();
    let batch = scheduler.schedule().unwrap();
    assert_eq!(
        scheduler.commit(batch, vec![SampledToken::default()])[0].finished,
        None
    );
    let batch = scheduler.schedule().unwrap();
    let outputs = scheduler.commit(batch, vec![SampledToken::default()]);
    assert_eq!(outputs[0].finished, Some(FinishReason::Error));
    assert_eq!(scheduler.stats().free_blocks, 16);
}

/// A row with an error ends its own sequence, frees its blocks and publishes none of them.
#[test]
fn a_row_that_fails_ends_its_sequence_alone() {
    let mut scheduler = Scheduler::new(CONFIG).unwrap();
    let prompt = [1, 2, 3, 4];
    scheduler.add(request(0, &prompt, 2)).unwrap();
    scheduler.add(request(1, &[5, 6], 2)).unwrap();
    let batch = scheduler.schedule().unwrap();
    let mut bad = token(0);
    bad.fail("its logits contain a NaN");
    let outputs = scheduler.commit(batch, vec![bad, token(7)]);
    assert_eq!(outputs[0].finished, Some(FinishReason::Error));
    assert_eq!(outputs[0].sampled.token, None);
    let error = outputs[0].sampled.error.as_deref();
    assert_eq!(error, Some("its logits contain a NaN"));
    assert_eq!(outputs[1].finished, None);
    assert_eq!(outputs[1].sampled.token, Some(7));

    let batch = scheduler.schedule().unwrap();
    assert_eq!(batch.rows.len(), 1);
    let outputs = scheduler.commit(batch, vec![token(8)]);
    assert_eq!(outputs[0].finished, Some(FinishReason::Length));
    let stats = scheduler.stats();
    assert_eq!(stats.free_blocks, stats.total_blocks);
    // The same prompt again finds nothing in the prefix cache.
    scheduler.add(request(2, &prompt, 1)).unwrap();
    assert_eq!(scheduler.schedule().unwrap().rows[0].start, 0);
    assert_eq!(scheduler.stats().prefix_hits, 0);
}
