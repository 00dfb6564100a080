//! Random sequences of events. Every check of the simulation holds at every step.

use std::sync::Arc;

use farthing_scheduler::{CacheSalt, SamplingParams, SchedulerConfig, SequenceId, SequenceRequest};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;

use crate::fake_runner::VOCABULARY;
use crate::simulation::{Simulation, StepEnd, adapter, request};

#[derive(Clone, Debug)]
enum Event {
    Add(SequenceRequest),
    /// Abort the n-th newest sequence.
    Abort(usize),
    /// A step during which the n-th newest sequences are aborted.
    Step(StepEnd, Vec<usize>),
}

fn config() -> impl Strategy<Value = SchedulerConfig> {
    (
        1..5usize,
        1..24usize,
        1..6usize,
        1..20usize,
        2..40usize,
        0..4usize,
    )
        .prop_map(
            |(
                block_size,
                num_blocks,
                max_num_seqs,
                max_num_batched_tokens,
                max_model_len,
                adapters,
            )| {
                SchedulerConfig {
                    block_size,
                    num_blocks,
                    max_num_seqs,
                    max_num_batched_tokens,
                    max_model_len,
                    max_adapters: adapters,
                }
            },
        )
}

/// Prompts with long common prefixes.
fn prompt() -> impl Strategy<Value = Vec<u32>> {
    let beginning = (0..VOCABULARY, 0..20usize).prop_map(|(token, len)| vec![token; len]);
    let end = prop::collection::vec(0..VOCABULARY, 1..8);
    (beginning, end).prop_map(|(beginning, end)| [beginning, end].concat())
}

fn any_request() -> impl Strategy<Value = SequenceRequest> {
    let names = prop::option::of(0..4u8);
    let stops = prop::option::weighted(0.3, 0..VOCABULARY);
    (
        prompt(),
        names,
        0..20usize,
        stops,
        any::<bool>(),
        prop::option::weighted(0.2, 0..3usize),
        prop::option::weighted(0.3, 0..2u8),
    )
        .prop_map(
            |(prompt, name, max_tokens, stop, penalty, prompt_logprobs, salt)| SequenceRequest {
                adapter: name.map(adapter),
                cache_salt: salt.map(|salt| CacheSalt([salt; 16])),
                params: Arc::new(SamplingParams {
                    presence_penalty: if penalty { 0.5 } else { 0.0 },
                    ..Default::default()
                }),
                stop_token_ids: stop.into_iter().collect(),
                prompt_logprobs,
                ..request(0, &prompt, max_tokens)
            },
        )
}

fn event() -> impl Strategy<Value = Event> {
    let end = prop_oneof![
        20 => Just(StepEnd::Commit),
        1 => Just(StepEnd::Fail),
        1 => (0..4usize).prop_map(StepEnd::Truncate),
    ];
    let aborts = prop_oneof![
        8 => Just(Vec::new()),
        1 => prop::collection::vec(0..6usize, 1..3),
    ];
    prop_oneof![
        6 => any_request().prop_map(Event::Add),
        1 => (0..8usize).prop_map(Event::Abort),
        12 => (end, aborts).prop_map(|(end, aborts)| Event::Step(end, aborts)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, ..Default::default() })]

    /// Whatever is added, aborted, lost or failed, in any order: blocks add up after every step,
    /// each row finds its history in its blocks, and a sequence that is not disturbed gets all its
    /// tokens.
    #[test]
    fn every_sequence_gets_its_own(
        config in config(),
        fixed_tokens in prop::option::of(0..20usize),
        events in prop::collection::vec(event(), 1..120),
    ) {
        let mut simulation = Simulation::new(config);
        simulation.scheduler.set_fixed_tokens(fixed_tokens);
        let mut added = 0;
        for event in events {
            match event {
                Event::Add(request) => {
                    let request = SequenceRequest { id: SequenceId(added), ..request };
                    added += u64::from(simulation.add(request).is_ok());
                }
                Event::Abort(newest) => {
                    if let Some(id) = added.checked_sub(newest as u64 + 1) {
                        simulation.abort(SequenceId(id));
                    }
                }
                Event::Step(end, newest) => {
                    let ids = newest.iter().filter_map(|&n| added.checked_sub(n as u64 + 1));
                    let aborts: Vec<_> = ids.map(SequenceId).collect();
                    simulation.step(end, &aborts);
                }
            }
        }
        simulation.drain();
    }
}

/// The property above would be weak if its cases had no preemption and no prefix hit.
#[test]
fn random_lives_are_eventful() {
    let mut runner = TestRunner::deterministic();
    let (mut preemptions, mut hits) = (0, 0);
    for _ in 0..100 {
        let (config, requests) = (config(), prop::collection::vec(any_request(), 40))
            .new_tree(&mut runner)
            .unwrap()
            .current();
        let mut simulation = Simulation::new(config);
        for (id, request) in requests.into_iter().enumerate() {
            _ = simulation.add(SequenceRequest {
                id: SequenceId(id as u64),
                ..request
            });
        }
        simulation.drain();
        preemptions += simulation.scheduler.stats().preemptions;
        hits += simulation.scheduler.stats().prefix_hits;
    }
    assert!(preemptions > 100, "{preemptions} preemptions");
    assert!(hits > 100, "{hits} hits");
}
