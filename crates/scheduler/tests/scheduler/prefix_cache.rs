//! Which prefixes are found in the cache, and which never are.

use farthing_scheduler::{CacheSalt, SchedulerConfig, SequenceId, SequenceRequest};

use crate::simulation::{Simulation, StepEnd, adapter, request};

const CONFIG: SchedulerConfig = SchedulerConfig {
    block_size: 4,
    num_blocks: 8,
    max_num_seqs: 4,
    max_num_batched_tokens: 64,
    max_model_len: 32,
    max_adapters: 2,
};

/// The number of cached tokens of `request` after all earlier sequences have ended.
fn cached(simulation: &mut Simulation, request: SequenceRequest) -> usize {
    let id = request.id.0;
    simulation.add(request).unwrap();
    simulation.drain();
    simulation.life(id).first_start
}

#[test]
fn full_blocks_are_found_and_the_last_token_is_computed() {
    let mut simulation = Simulation::new(CONFIG);
    let prompt: Vec<u32> = (0..12).collect();
    assert_eq!(cached(&mut simulation, request(0, &prompt, 1)), 0);
    assert_eq!(
        cached(&mut simulation, request(1, &prompt[..8], 1)),
        4,
        "not the whole prompt"
    );
    assert_eq!(cached(&mut simulation, request(2, &prompt[..9], 1)), 8);
    assert_eq!(
        cached(&mut simulation, request(3, &prompt[..11], 1)),
        8,
        "only full blocks"
    );
    let stats = simulation.scheduler.stats();
    assert_eq!(
        (stats.prefix_queries, stats.prefix_hits),
        (12 + 8 + 9 + 11, 4 + 8 + 8)
    );
}

#[test]
fn generated_tokens_are_found_as_well() {
    let mut simulation = Simulation::new(CONFIG);
    cached(&mut simulation, request(0, &[0, 1, 2], 10));
    let conversation = [&simulation.life(0).tokens[..], &[0]].concat();
    // Of 13 tokens the last was never computed; 12 fill three blocks.
    assert_eq!(cached(&mut simulation, request(1, &conversation, 1)), 12);
}

#[test]
fn a_block_is_not_found_before_it_is_computed() {
    let mut simulation = Simulation::new(CONFIG);
    simulation.add(request(0, &[1; 9], 2)).unwrap();
    simulation.add(request(1, &[1; 9], 2)).unwrap();
    simulation.step(StepEnd::Commit, &[]);
    assert_eq!(simulation.life(1).first_start, 0);
    // Once both are computed they share two full blocks, and each has one block of its own.
    assert_eq!(simulation.scheduler.count_held_blocks(), 4);
    simulation.drain();
}

#[test]
fn the_same_tokens_after_another_beginning_are_another_block() {
    let mut simulation = Simulation::new(CONFIG);
    cached(&mut simulation, request(0, &[1, 1, 1, 1, 2, 2, 2, 2, 0], 1));
    assert_eq!(
        cached(&mut simulation, request(1, &[2, 2, 2, 2, 1, 1, 1, 1, 0], 1)),
        0
    );
    assert_eq!(
        cached(&mut simulation, request(2, &[1, 1, 1, 1, 1, 1, 1, 1, 0], 1)),
        4
    );
}

#[test]
fn adapters_and_the_base_never_meet() {
    let mut simulation = Simulation::new(CONFIG);
    let names = [None, Some(adapter(1)), Some(adapter(2))];
    for (id, adapter) in (0..).zip(names) {
        let request = SequenceRequest {
            adapter,
            ..request(id, &[1; 5], 1)
        };
        assert_eq!(cached(&mut simulation, request), 0);
    }
    for (id, adapter) in (3..).zip(names) {
        let request = SequenceRequest {
            adapter,
            ..request(id, &[1; 5], 1)
        };
        assert_eq!(cached(&mut simulation, request), 4);
    }
}

#[test]
fn salts_never_meet() {
    let mut simulation = Simulation::new(CONFIG);
    // The last differs from the first in its last bit.
    let mut twin = [1; 16];
    twin[15] = 0;
    let salts = [None, Some(CacheSalt([1; 16])), Some(CacheSalt(twin))];
    for (id, cache_salt) in (0..).zip(salts) {
        let request = SequenceRequest {
            cache_salt,
            ..request(id, &[1; 9], 1)
        };
        assert_eq!(cached(&mut simulation, request), 0);
    }
    for (id, cache_salt) in (3..).zip(salts) {
        let request = SequenceRequest {
            cache_salt,
            ..request(id, &[1; 9], 1)
        };
        // Six of the eight blocks hold two of each salt.
        assert_eq!(cached(&mut simulation, request), 8);
    }
}

#[test]
fn sequences_with_different_salts_share_no_block() {
    let mut simulation = Simulation::new(CONFIG);
    let with_salt = |id, salt| SequenceRequest {
        cache_salt: Some(CacheSalt([salt; 16])),
        ..request(id, &[1; 5], 2)
    };
    for (id, salt) in [(0, 1), (1, 1), (2, 2)] {
        simulation.add(with_salt(id, salt)).unwrap();
    }
    simulation.step(StepEnd::Commit, &[]);
    // One full block for each salt, and for each sequence the block that it fills.
    assert_eq!(simulation.scheduler.count_held_blocks(), 2 + 3);
    simulation.drain();
}

#[test]
fn whoever_wants_the_prompts_logprobs_does_not_read_but_fills() {
    let mut simulation = Simulation::new(CONFIG);
    let told = |id| SequenceRequest {
        prompt_logprobs: Some(1),
        ..request(id, &[1; 9], 1)
    };
    assert_eq!(cached(&mut simulation, told(0)), 0);
    assert_eq!(cached(&mut simulation, told(1)), 0);
    assert_eq!(simulation.scheduler.stats().prefix_queries, 0);
    assert_eq!(cached(&mut simulation, request(2, &[1; 9], 1)), 8);
}

#[test]
fn the_least_recently_used_goes_first_and_a_child_before_its_parent() {
    let mut simulation = Simulation::new(CONFIG);
    cached(&mut simulation, request(0, &[1; 13], 1)); // three cached blocks
    cached(&mut simulation, request(1, &[2; 13], 1)); // three more
    cached(&mut simulation, request(2, &[1; 13], 1)); // the ones are used again
    // Five of the eight blocks: the two without content, then all of the twos.
    cached(&mut simulation, request(3, &[0; 17], 1));
    assert_eq!(cached(&mut simulation, request(4, &[2; 9], 1)), 0);
    // That took the one block without content and the last two of the ones.
    assert_eq!(
        cached(&mut simulation, request(5, &[1; 5], 1)),
        4,
        "the parent is still there"
    );
    assert_eq!(
        cached(&mut simulation, request(6, &[1; 9], 1)),
        4,
        "the child is gone"
    );
}

#[test]
fn an_aborted_sequence_leaves_what_it_computed() {
    let mut simulation = Simulation::new(CONFIG);
    simulation.add(request(0, &[1; 9], 4)).unwrap();
    simulation.step(StepEnd::Commit, &[SequenceId(0)]);
    assert_eq!(cached(&mut simulation, request(1, &[1; 9], 1)), 8);
}

#[test]
fn a_row_that_brought_nothing_back_leaves_nothing() {
    let mut simulation = Simulation::new(CONFIG);
    simulation.add(request(0, &[1; 9], 4)).unwrap();
    simulation.step(StepEnd::Truncate(0), &[]);
    assert_eq!(cached(&mut simulation, request(1, &[1; 9], 1)), 0);
}
