//! No sequence waits forever, whatever other sequences arrive.

use farthing_scheduler::{AdapterId, SchedulerConfig, SequenceId, SequenceRequest};
use proptest::prelude::*;

use crate::simulation::{Simulation, StepEnd, adapter, request};

/// Two tokens of prompt and up to `TOKENS` of answer.
const TOKENS: usize = 8;
/// Waiting sequences of each popular kind, at every moment.
const CROWD: usize = 2;

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, ..Default::default() })]

    /// As many popular adapters as have slots, and perhaps the base model, never stop sending
    /// requests. A sequence of another adapter, or of the base model, still starts and ends in
    /// bounded time.
    #[test]
    fn a_rare_sequence_gets_its_turn(
        max_num_seqs in 1..5usize,
        max_adapters in 1..3usize,
        max_num_batched_tokens in 1..8usize,
        spare_blocks in 0..8usize,
        fixed_tokens in prop::option::of(0..20usize),
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
        crowd.simulation.scheduler.set_fixed_tokens(fixed_tokens);

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

    /// One step. Before it, every popular kind is filled up to its number of waiting sequences.
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

    /// Maximum number of steps until a new sequence has ended. The oldest sequence gets a row in
    /// each step, so it ends in `alone` steps. Before the new one come those that are present and
    /// those that may skip it, and each of them may be preempted once for all others.
    fn longest_wait(&self) -> usize {
        let alone = (2 * TOKENS).div_ceil(self.simulation.config.max_num_batched_tokens) + TOKENS;
        let stats = self.simulation.scheduler.stats();
        let before = stats.running + stats.waiting + 2 * self.simulation.config.max_num_seqs;
        // Shorter requests may take half of each step.
        4 * alone * (before + 1)
    }
}

const ROOMY: SchedulerConfig = SchedulerConfig {
    block_size: 4,
    num_blocks: 400,
    max_num_seqs: 2,
    max_num_batched_tokens: 100,
    max_model_len: 50,
    max_adapters: 1,
};

fn of(kind: Option<AdapterId>, id: u64, max_tokens: usize) -> SequenceRequest {
    SequenceRequest {
        adapter: kind,
        ..request(id, &[0, 1], max_tokens)
    }
}

/// Runs `steps` steps and returns the sequences of each step.
fn serve(simulation: &mut Simulation, steps: usize) -> Vec<Vec<u64>> {
    let step = |_| {
        let rows = simulation.step(StepEnd::Commit, &[]);
        rows.iter().map(|row| row.sequence.0).collect()
    };
    (0..steps).map(step).collect()
}

/// Step by step: one adapter has a slot, b waits for it, and the kind with the fewest tokens is
/// next.
#[test]
fn whoever_had_least_is_next() {
    let mut simulation = Simulation::new(ROOMY);
    let (a, b) = (Some(adapter(1)), Some(adapter(2)));
    simulation.add(of(a, 0, 3)).unwrap();
    let mut served = serve(&mut simulation, 1);
    [
        of(b, 1, 3),
        of(a, 2, 3),
        of(a, 3, 3),
        of(a, 4, 3),
        of(None, 5, 2),
    ]
    .into_iter()
    .for_each(|it| simulation.add(it).unwrap());
    served.extend(serve(&mut simulation, 11));
    assert_eq!(
        served,
        [
            vec![0],    // a runs alone
            vec![0, 5], // b finds no room; the base model came last, but a has had something
            vec![0, 5],
            vec![1], // a's place is free, b takes it, and only another b could run beside it
            vec![1],
            vec![1],
            vec![2, 3],
            vec![2, 3],
            vec![2, 3],
            vec![4],
            vec![4],
            vec![4],
        ]
    );
}

/// It is b's turn while a runs. The short sequences of a's adapter skip b twice and no more.
#[test]
fn an_adapter_without_room_is_passed_a_few_times_only() {
    let mut simulation = Simulation::new(ROOMY);
    let (a, b) = (Some(adapter(1)), Some(adapter(2)));
    simulation.add(of(a, 0, 20)).unwrap();
    serve(&mut simulation, 1);
    simulation.add(of(b, 1, 1)).unwrap();
    (2..8).for_each(|id| simulation.add(of(a, id, 1)).unwrap());
    (8..10).for_each(|id| simulation.add(of(None, id, 1)).unwrap());
    let served = serve(&mut simulation, 21);
    let beside: Vec<_> = served.iter().map(|rows| rows[rows.len() - 1]).collect();
    // By tokens, the base model and a take turns; but a skips b only twice.
    assert_eq!(beside[..5], [8, 2, 9, 3, 0]);
    assert_eq!(beside[5..19], [0; 14]);
    assert_eq!(served[19], [1]);
}

/// However many sequences of one kind wait, the first one of any other kind is next.
#[test]
fn a_flood_delays_nobody_else() {
    for (flood, others) in [
        (Some(adapter(1)), [None, Some(adapter(2))]),
        (None, [Some(adapter(1)), Some(adapter(2))]),
    ] {
        let mut simulation = Simulation::new(SchedulerConfig {
            max_num_seqs: 4,
            max_adapters: 2,
            ..ROOMY
        });
        (0..200).for_each(|id| simulation.add(of(flood, id, 4)).unwrap());
        for id in (200..220).step_by(2) {
            // All four running sequences of the flood have ended within four steps.
            serve(&mut simulation, 2);
            let arrived = simulation.steps;
            for (id, kind) in (id..).zip(others) {
                simulation.add(of(kind, id, 2)).unwrap();
            }
            serve(&mut simulation, 6);
            for id in [id, id + 1] {
                let life = simulation.life(id);
                let waited = life.first_step.unwrap() - arrived;
                assert!(waited <= 4, "{waited} steps");
                assert!(life.finished.is_some());
            }
        }
        let flooded = simulation.lives().take(200);
        let left = flooded.filter(|life| life.first_step.is_none()).count();
        assert!(left > 0, "the flood was over before the others came");
        simulation.drain();
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, ..Default::default() })]

    /// Two kinds that always have requests have computed the same number of tokens at every moment,
    /// up to a full batch of the longest sequences, whatever their lengths and numbers.
    #[test]
    fn whoever_keeps_asking_gets_the_same(
        max_num_seqs in 1..5usize,
        max_num_batched_tokens in 5..20usize,
        prompts in prop::array::uniform2(1..12usize),
        answers in prop::array::uniform2(1..12usize),
        is_base in any::<bool>(),
        crowd in 1..40usize,
    ) {
        let mut simulation = Simulation::new(SchedulerConfig {
            max_num_seqs,
            max_num_batched_tokens,
            max_adapters: 2,
            ..ROOMY
        });
        let kinds = [Some(adapter(1)), Some(adapter(2)).filter(|_| !is_base)];
        // The first kind sends many sequences, the second just enough to always have one.
        let mut added = 0;
        let mut had = [0usize; 2];
        let longest = (0..2).map(|i| prompts[i] + answers[i]).max().unwrap();
        for _ in 0..200 {
            for (i, kind) in kinds.into_iter().enumerate() {
                let waiting = simulation
                    .lives()
                    .filter(|life| life.first_step.is_none() && life.adapter() == kind);
                for _ in waiting.count()..[crowd + max_num_seqs, max_num_seqs + 1][i] {
                    let prompt = vec![added as u32; prompts[i]];
                    let new = SequenceRequest {
                        adapter: kind,
                        ..request(added, &prompt, answers[i])
                    };
                    simulation.add(new).unwrap();
                    added += 1;
                }
            }
            for row in simulation.step(StepEnd::Commit, &[]) {
                let kind = kinds.iter().position(|&kind| kind == row.adapter).unwrap();
                had[kind] += row.tokens.len();
            }
            let limit = (max_num_seqs + 1) * longest;
            prop_assert!(had[0].abs_diff(had[1]) <= limit, "{had:?} differ by more than {limit}");
        }
    }
}
