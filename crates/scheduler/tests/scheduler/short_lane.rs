//! Short requests beside long ones.

use farthing_scheduler::{SchedulerConfig, SequenceId, SequenceRequest};

use crate::simulation::{Simulation, StepEnd, request};

/// Places in a step.
const PLACES: usize = 64;
/// Tokens that take as long as what every step takes.
const FIXED_TOKENS: usize = 4;
const CONFIG: SchedulerConfig = SchedulerConfig {
    block_size: 16,
    num_blocks: 20_000,
    max_num_seqs: PLACES,
    max_num_batched_tokens: 512,
    max_model_len: 2048,
    max_adapters: 0,
};

/// Time in tokens: a step takes that of its own tokens and of the fixed ones.
struct Machine {
    simulation: Simulation,
    time: usize,
    longest_step: usize,
}

impl Machine {
    /// A scheduler that knows the device, or does not, with running and waiting long requests.
    fn with_long(sequences: u64, fixed_tokens: Option<usize>) -> Self {
        let mut simulation = Simulation::new(CONFIG);
        simulation.scheduler.set_fixed_tokens(fixed_tokens);
        for id in 0..sequences {
            simulation.add(request(id, &[id as u32], 1_000)).unwrap();
        }
        let mut machine = Self {
            simulation,
            time: 0,
            longest_step: 0,
        };
        for _ in 0..10 {
            machine.step();
        }
        machine
    }

    /// The sequences of a step.
    fn step(&mut self) -> Vec<SequenceId> {
        let rows = self.simulation.step(StepEnd::Commit, &[]);
        let tokens: usize = rows.iter().map(|row| row.tokens.len()).sum();
        self.time += FIXED_TOKENS + tokens;
        self.longest_step = self.longest_step.max(FIXED_TOKENS + tokens);
        rows.iter().map(|row| row.sequence).collect()
    }

    /// The time that a new request takes.
    fn take(&mut self, request: SequenceRequest) -> usize {
        let (id, began) = (request.id.0, self.time);
        self.simulation.add(request).unwrap();
        while self.simulation.life(id).finished.is_none() {
            self.step();
        }
        self.time - began
    }
}

fn chat(id: u64) -> SequenceRequest {
    request(id, &[7; 20], 8)
}

/// The time that the chat takes alone: its prompt, and a step for each further token.
const ALONE: usize = (FIXED_TOKENS + 20) + 7 * (FIXED_TOKENS + 1);

#[test]
fn a_short_request_takes_twice_its_time_beside_more_long_ones_than_have_a_place() {
    let mut machine = Machine::with_long(200, Some(FIXED_TOKENS));
    let times: Vec<usize> = (1_000..1_020).map(|id| machine.take(chat(id))).collect();
    for time in times {
        assert!(
            time <= 2 * ALONE + machine.longest_step,
            "{time} beside, {ALONE} alone, {} a step",
            machine.longest_step
        );
    }
}

#[test]
fn short_requests_without_end_leave_the_long_ones_a_third_of_the_time() {
    let mut machine = Machine::with_long(PLACES as u64, Some(FIXED_TOKENS));
    let (mut long, began) = (0, machine.time);
    for id in 1_000..1_200 {
        machine.simulation.add(chat(id)).unwrap();
        while machine.simulation.life(id).finished.is_none() {
            let rows = machine.step();
            long += rows.iter().filter(|id| id.0 < 1_000).count();
        }
    }
    // Whole steps of the long ones alone would have made this many tokens.
    let alone = (machine.time - began) * PLACES / (FIXED_TOKENS + PLACES);
    assert!(3 * long >= alone, "{long} of {alone}");
}

#[test]
fn where_a_step_takes_the_same_time_nobody_is_left_out() {
    let mut machine = Machine::with_long(PLACES as u64 - 1, Some(1_000));
    machine.simulation.add(chat(1_000)).unwrap();
    for _ in 0..8 {
        assert_eq!(machine.step().len(), PLACES);
    }
}

#[test]
fn as_long_as_nothing_is_known_of_the_device_the_oldest_come_first() {
    let mut machine = Machine::with_long(200, None);
    machine.simulation.add(chat(1_000)).unwrap();
    assert_eq!(machine.step(), (0..64).map(SequenceId).collect::<Vec<_>>());
}

#[test]
fn many_short_sequences_of_one_request_are_not_short() {
    let mut machine = Machine::with_long(0, Some(FIXED_TOKENS));
    for id in 0..128 {
        let choice = SequenceRequest {
            siblings: 128,
            ..request(id, &[1], 12)
        };
        machine.simulation.add(choice).unwrap();
    }
    machine.step();
    let time = machine.take(chat(1_000));
    assert!(time <= 2 * ALONE + machine.longest_step, "{time}");
}
