//! Small cases step by step, written as `sequence: from..to [blocks]`, with `!` where a token is
//! sampled.

use farthing_scheduler::{BatchRow, SchedulerConfig};

use crate::simulation::{Simulation, StepEnd, request};

const CONFIG: SchedulerConfig = SchedulerConfig {
    block_size: 4,
    num_blocks: 6,
    max_num_seqs: 2,
    max_num_batched_tokens: 8,
    max_model_len: 24,
    max_adapters: 0,
};

/// A prompt that shares nothing with that of another `id`.
fn prompt(id: u32, len: u32) -> Vec<u32> {
    (0..len).map(|position| 100 * id + position).collect()
}

/// Steps until nothing is left to do.
fn trace(mut simulation: Simulation) -> String {
    let mut steps = String::new();
    loop {
        let rows = simulation.step(StepEnd::Commit, &[]);
        if rows.is_empty() {
            simulation.drain();
            return steps;
        }
        steps += &rows.iter().map(describe).collect::<Vec<_>>().join("  ");
        steps += "\n";
    }
}

fn describe(row: &BatchRow) -> String {
    let blocks: Vec<_> = row
        .block_table
        .iter()
        .map(|block| block.0.to_string())
        .collect();
    format!(
        "{}: {}..{} [{}]{}",
        row.sequence.0,
        row.start,
        row.start + row.tokens.len(),
        blocks.join(" "),
        if row.sample.is_some() { "!" } else { "" }
    )
}

#[test]
fn a_long_prompt_is_computed_in_chunks_beside_a_running_sequence() {
    let mut simulation = Simulation::new(CONFIG);
    simulation.add(request(1, &prompt(1, 3), 4)).unwrap();
    simulation.add(request(2, &prompt(2, 14), 2)).unwrap();
    assert_eq!(
        trace(simulation),
        "1: 0..3 [0]!  2: 0..5 [1 2]\n\
         1: 3..4 [0]!  2: 5..12 [1 2 3]\n\
         1: 4..5 [0 5]!  2: 12..14 [1 2 3 4]!\n\
         1: 5..6 [0 5]!  2: 14..15 [1 2 3 4]!\n"
    );
}

#[test]
fn the_third_waits_for_a_seat() {
    let mut simulation = Simulation::new(CONFIG);
    for id in 1..4 {
        simulation
            .add(request(id.into(), &prompt(id, 2), 2))
            .unwrap();
    }
    assert_eq!(
        trace(simulation),
        "1: 0..2 [0]!  2: 0..2 [1]!\n\
         1: 2..3 [0]!  2: 2..3 [1]!\n\
         3: 0..2 [1]!\n\
         3: 2..3 [1]!\n"
    );
}

#[test]
fn whoever_lacks_blocks_is_not_passed() {
    let mut simulation = Simulation::new(CONFIG);
    simulation.add(request(1, &prompt(1, 8), 2)).unwrap();
    simulation.step(StepEnd::Commit, &[]);
    simulation.add(request(2, &prompt(2, 20), 1)).unwrap();
    simulation.add(request(3, &prompt(3, 1), 1)).unwrap();
    assert_eq!(
        trace(simulation),
        "1: 8..9 [0 1 2]!\n\
         2: 0..8 [2 3]\n\
         2: 8..16 [2 3 4 5]\n\
         2: 16..20 [2 3 4 5 1]!  3: 0..1 [0]!\n"
    );
}

#[test]
fn the_newest_gives_its_blocks_up_and_takes_its_own_prefix_back() {
    let mut simulation = Simulation::new(SchedulerConfig {
        num_blocks: 3,
        ..CONFIG
    });
    simulation.add(request(1, &prompt(1, 4), 4)).unwrap();
    simulation.add(request(2, &prompt(2, 4), 4)).unwrap();
    simulation.add(request(3, &prompt(3, 2), 2)).unwrap();
    assert_eq!(
        trace(simulation),
        // Both need a second block and one is left. 2 is preempted with the token that it has
        // sampled, and waits before 3; its only block stays cached until 1 has ended.
        "1: 0..4 [0]!  2: 0..4 [1]!\n\
         1: 4..5 [0 2]!\n\
         1: 5..6 [0 2]!\n\
         1: 6..7 [0 2]!\n\
         2: 4..5 [1 2]!  3: 0..2 [0]!\n\
         2: 5..6 [1 2]!  3: 2..3 [0]!\n\
         2: 6..7 [1 2]!\n"
    );
}
