//! Nobody waits for ever, whoever else keeps coming.

use farthing_scheduler::{AdapterId, SchedulerConfig, SequenceId, SequenceRequest};
use proptest::prelude::*;

use crate::simulation::{Simulation, StepEnd, adapter, request};

/// Two tokens of prompt and up to `TOKENS` of answer.
const TOKENS: usize = 8;
/// Waiting sequences of each popular kind, at every moment.
const CROWD: usize = 2;

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, ..Default::default() })]

    /// As many popular adapters as have room, and perhaps the base model, never stop asking. A
    /// sequence of another adapter, or of the base model, still starts and ends in bounded time.
    #[test]
    fn a_rare_sequence_gets_its_turn(
        max_num_seqs in 1..5usize,
        max_adapters in 1..3usize,
        max_num_batched_tokens in 1..8usize,
        spare_blocks in 0..8usize,
        popular_base in any::<bool>(),
        rare_adapter in any::<bool>(),
        rare_prompt in 1..9usize,
        arrivals in prop::collection::vec(0..12usize, 1..4),
        lengths in prop::collection::vec(1..=TOKENS, 64),
    ) {
        let config = SchedulerConfig {
            block_size: 2,
            num_blocks: 8 + spare_blocks, // for one sequence of 16 tokens, and some more
            max_num_seqs,
            max_num_batched_tokens,
            max_model_len: 32,
            max_adapters,
        };
        let mut kinds: Vec<Option<AdapterId>> =
            (0..max_adapters as u8).map(|name| Some(adapter(name))).collect();
        if popular_base || !rare_adapter {
            kinds.push(None);
        }
        let mut crowd = Crowd { kinds, lengths, simulation: Simulation::new(config), added: 0 };

        for pause in arrivals {
            for _ in 0..pause {
                crowd.step();
            }
            let rare = SequenceRequest {
                adapter: rare_adapter.then(|| adapter(u8::MAX)),
                ..request(crowd.added, &vec![1; rare_prompt], TOKENS)
            };
            let start_in = crowd.longest_wait();
            crowd.add(rare.clone());
            crowd.step_until(start_in, |simulation| simulation.life(rare.id.0).first_step.is_some());
            let end_in = crowd.longest_wait();
            crowd.step_until(end_in, |simulation| simulation.life(rare.id.0).finished.is_some());
        }
        crowd.simulation.drain();
    }
}

struct Crowd {
    kinds: Vec<Option<AdapterId>>,
    lengths: Vec<usize>,
    simulation: Simulation,
    added: u64,
}

impl Crowd {
    fn add(&mut self, request: SequenceRequest) {
        assert_eq!(request.id, SequenceId(self.added));
        self.simulation.add(request).unwrap();
        self.added += 1;
    }

    /// One step, before which every popular kind has its crowd waiting.
    fn step(&mut self) {
        for kind in self.kinds.clone() {
            let waiting = self
                .simulation
                .lives()
                .filter(|life| life.first_step.is_none() && life.adapter() == kind);
            for _ in waiting.count()..CROWD {
                let length = self.lengths[self.added as usize % self.lengths.len()];
                let prompt = [self.added as u32, 0];
                self.add(SequenceRequest {
                    adapter: kind,
                    ..request(self.added, &prompt, length)
                });
            }
        }
        self.simulation.step(StepEnd::Commit, &[]);
    }

    fn step_until(&mut self, limit: usize, done: impl Fn(&Simulation) -> bool) {
        let mut steps = 0;
        while !done(&self.simulation) {
            self.step();
            steps += 1;
            assert!(steps <= limit, "still waiting after {limit} steps");
        }
    }

    /// Steps after which a new sequence must be through. The oldest sequence of all gets a row in
    /// each step, so it ends in `alone` steps; before the new one come those that are here and
    /// those that may pass it, and each of these may be sent back for all others once.
    fn longest_wait(&self) -> usize {
        let alone = (2 * TOKENS).div_ceil(self.simulation.config.max_num_batched_tokens) + TOKENS;
        let stats = self.simulation.scheduler.stats();
        let before = stats.running + stats.waiting + 2 * self.simulation.config.max_num_seqs;
        2 * alone * (before + 1)
    }
}

/// Read as a story: one adapter has room, b waits for it, a's friends pass b twice and no more.
#[test]
fn an_adapter_without_room_is_passed_a_few_times_only() {
    let mut simulation = Simulation::new(SchedulerConfig {
        block_size: 4,
        num_blocks: 100,
        max_num_seqs: 2,
        max_num_batched_tokens: 100,
        max_model_len: 50,
        max_adapters: 1,
    });
    let a = |id| SequenceRequest {
        adapter: Some(adapter(1)),
        ..request(id, &[0, 1], 3)
    };
    let b = |id| SequenceRequest {
        adapter: Some(adapter(2)),
        ..request(id, &[0, 1], 3)
    };
    let base = |id| request(id, &[0, 1], 2);

    let mut served = Vec::new();
    let mut serve = |simulation: &mut Simulation| {
        let rows = simulation.step(StepEnd::Commit, &[]);
        served.push(rows.iter().map(|row| row.sequence.0).collect::<Vec<_>>());
    };
    simulation.add(a(0)).unwrap();
    serve(&mut simulation);
    [b(1), a(2), a(3), a(4), base(5)]
        .into_iter()
        .for_each(|it| simulation.add(it).unwrap());
    (0..11).for_each(|_| serve(&mut simulation));

    assert_eq!(
        served,
        [
            vec![0],    // a runs alone
            vec![0, 2], // b finds no room, a passes
            vec![0, 2],
            vec![2, 3], // a passes again, the last time
            vec![3, 5], // only the base model may pass now
            vec![3, 5],
            vec![1], // a has made room for b, and nobody but another b could run beside it
            vec![1],
            vec![1],
            vec![4],
            vec![4],
            vec![4],
        ]
    );
}
