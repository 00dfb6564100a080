//! Sequences that can never run are rejected, and the error contains the numbers.

use farthing_scheduler::{
    AdmissionError, ConfigError, Scheduler, SchedulerConfig, SequenceId, SequenceRequest,
};

use crate::simulation::{Simulation, adapter, request};

const CONFIG: SchedulerConfig = SchedulerConfig {
    block_size: 4,
    num_blocks: 3,
    max_num_seqs: 2,
    max_num_batched_tokens: 8,
    max_model_len: 16,
    max_adapters: 0,
};

#[test]
fn an_empty_prompt_is_refused() {
    let error = Simulation::new(CONFIG).add(request(0, &[], 1)).unwrap_err();
    assert_eq!(error, AdmissionError::EmptyPrompt);
}

#[test]
fn a_prompt_leaves_room_for_one_token() {
    let config = SchedulerConfig {
        num_blocks: 4,
        ..CONFIG
    };
    let mut simulation = Simulation::new(config);
    let error = simulation.add(request(0, &[0; 16], 1)).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the prompt has 16 tokens, but the context holds 16 and one of them is for the answer: \
         shorten the prompt to 15 tokens"
    );
    simulation.add(request(0, &[0; 15], 1)).unwrap();
    simulation.drain();
    assert_eq!(simulation.life(0).output().len(), 1);
}

#[test]
fn a_sequence_fits_the_cache_at_its_greatest_length() {
    let mut simulation = Simulation::new(CONFIG);
    let error = simulation.add(request(0, &[0; 10], 4)).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the prompt's 10 tokens and max_tokens of 4 need 4 cache blocks of 4 tokens, but there \
         are 3: shorten the prompt, lower max_tokens or give the cache more memory"
    );
    // 13 tokens, the last of which is never computed, fill the 12 slots to the last one.
    simulation.add(request(0, &[0; 10], 3)).unwrap();
    simulation.drain();
    assert_eq!(simulation.life(0).output().len(), 3);
}

#[test]
fn max_tokens_may_be_as_large_as_it_likes_within_the_context() {
    let config = SchedulerConfig {
        num_blocks: 4,
        ..CONFIG
    };
    let mut simulation = Simulation::new(config);
    simulation.add(request(0, &[0; 10], usize::MAX)).unwrap();
    simulation.drain();
    assert_eq!(simulation.life(0).tokens.len(), 16);
}

#[test]
fn an_adapter_is_refused_where_none_may_run() {
    let request = SequenceRequest {
        adapter: Some(adapter(1)),
        ..request(0, &[0], 1)
    };
    let error = Simulation::new(CONFIG).add(request).unwrap_err();
    assert_eq!(error, AdmissionError::NoAdapters);
}

#[test]
fn an_id_is_used_once() {
    let mut scheduler = Scheduler::new(CONFIG).unwrap();
    scheduler.add(request(7, &[0], 1)).unwrap();
    let duplicate = Err(AdmissionError::DuplicateId(SequenceId(7)));
    assert_eq!(scheduler.add(request(7, &[0], 1)), duplicate);

    let batch = scheduler.schedule().unwrap();
    assert!(scheduler.abort(SequenceId(7)));
    assert_eq!(
        scheduler.add(request(7, &[0], 1)),
        duplicate,
        "its row is in flight"
    );
    scheduler.fail(batch);
    assert_eq!(scheduler.add(request(7, &[0], 1)), Ok(()));
}

#[test]
fn a_limit_of_nothing_is_refused() {
    let config = SchedulerConfig {
        max_num_seqs: 0,
        ..CONFIG
    };
    let error = Scheduler::new(config).unwrap_err();
    assert_eq!(
        error,
        ConfigError::Zero {
            field: "max_num_seqs"
        }
    );
    assert_eq!(
        error.to_string(),
        "max_num_seqs is 0: it must be at least 1"
    );

    let config = SchedulerConfig {
        num_blocks: 1 << 33,
        ..CONFIG
    };
    let error = Scheduler::new(config).unwrap_err();
    assert_eq!(
        error,
        ConfigError::TooManyBlocks {
            num_blocks: 1 << 33
        }
    );
}

#[test]
fn who_waits_for_an_adapters_room_is_told_apart() {
    let config = SchedulerConfig {
        max_num_seqs: 2,
        max_adapters: 1,
        ..CONFIG
    };
    let mut scheduler = Scheduler::new(config).unwrap();
    let of = |id, name| SequenceRequest {
        adapter: Some(adapter(name)),
        ..request(id, &[1], 1)
    };
    // Two run. Of the other three, one has no adapter and one the adapter of a running sequence.
    let waiting = [of(2, 8), of(3, 7), request(4, &[1], 1)];
    for new in [of(0, 7), of(1, 7)].into_iter().chain(waiting) {
        scheduler.add(new).unwrap();
    }
    assert_eq!(scheduler.stats().deferred, 0);
    let _batch = scheduler.schedule().unwrap();
    let stats = scheduler.stats();
    assert_eq!((stats.running, stats.waiting, stats.deferred), (2, 3, 1));
}
