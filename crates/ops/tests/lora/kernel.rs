//! `kernels/lora.cu` against the CPU: mixes of adapters, with NaNs past every rank.

use std::ops::Range;

use candle_core::DType;
use farthing_ops::{
    LORA_TILE_WORDS, LoraExpand, LoraSegment, LoraWeight, lora_tiles, max_lora_tiles,
};
use half::{bf16, f16};

use crate::emulator::{Half, Launch, assert_untouched, floats, halves};
use crate::reference::{Random, assert_close, flat, matrix, vector, weight};

const IN_FEATURES: usize = 160;
/// Query, key and value.
const TARGETS: [Range<usize>; 3] = [0..96, 96..128, 128..160];
const OUT_FEATURES: usize = 160;

/// Rank of each target, and the scale.
type Adapter = ([usize; 3], f32);

struct Case<'a> {
    adapters: &'a [Adapter],
    max_rank: usize,
    splits: usize,
    /// Whether the adapters have a gain and a bias.
    is_weighted: bool,
    /// The adapter of each token, -1 for none.
    token_slots: Vec<i32>,
}

impl Case<'_> {
    /// Each run of tokens with the same adapter, and its slot.
    fn runs(&self) -> Vec<(usize, Range<usize>)> {
        let mut runs: Vec<(usize, Range<usize>)> = Vec::new();
        for (token, slot) in self.token_slots.iter().enumerate() {
            let Ok(slot) = usize::try_from(*slot) else {
                continue;
            };
            match runs.last_mut() {
                Some((last, run)) if *last == slot && run.end == token => run.end += 1,
                _ => runs.push((slot, token..token + 1)),
            }
        }
        runs
    }
}

/// The pool on the device: all slots, padded with NaNs to `max_rank`.
struct Pool<T> {
    a: Vec<T>,
    b: Vec<T>,
    gains: Vec<f32>,
    biases: Vec<f32>,
}

impl<T: Half> Pool<T> {
    fn new(case: &Case<'_>, random: &mut Random) -> Self {
        let slots = case.adapters.len();
        let mut pool = Self {
            a: vec![T::NAN; slots * 3 * case.max_rank * IN_FEATURES],
            b: vec![T::NAN; slots * OUT_FEATURES * case.max_rank],
            gains: random.values(slots * OUT_FEATURES),
            biases: random.values(slots * OUT_FEATURES),
        };
        for (slot, (ranks, _)) in case.adapters.iter().enumerate() {
            for (t, rank) in ranks.iter().enumerate() {
                for r in 0..*rank {
                    // Scaled so that the results are about 1.
                    let values = random.values(IN_FEATURES).into_iter().map(|x| x * 0.2);
                    let values: Vec<T> = halves(&values.collect::<Vec<_>>());
                    pool.a_row(case, slot, t, r).copy_from_slice(&values);
                }
                for column in TARGETS[t].clone() {
                    let values: Vec<T> = halves(&random.values(*rank));
                    pool.b_row(case, slot, column)[..*rank].copy_from_slice(&values);
                }
            }
        }
        pool
    }

    fn a_row(&mut self, case: &Case<'_>, slot: usize, target: usize, rank: usize) -> &mut [T] {
        let row = (slot * 3 + target) * case.max_rank + rank;
        &mut self.a[row * IN_FEATURES..][..IN_FEATURES]
    }

    fn b_row(&mut self, case: &Case<'_>, slot: usize, column: usize) -> &mut [T] {
        &mut self.b[(slot * OUT_FEATURES + column) * case.max_rank..][..case.max_rank]
    }

    /// The same adapter for the CPU.
    fn on_the_cpu(&mut self, case: &Case<'_>, slot: usize) -> LoraWeight {
        let (ranks, scale) = case.adapters[slot];
        let (mut a, mut expand) = (Vec::new(), Vec::new());
        for (t, rank) in ranks.into_iter().enumerate().filter(|(_, rank)| *rank > 0) {
            let shrink_offset = a.len() / IN_FEATURES;
            for r in 0..rank {
                a.extend(floats(self.a_row(case, slot, t, r)));
            }
            let mut b = Vec::new();
            for column in TARGETS[t].clone() {
                b.extend(floats(&self.b_row(case, slot, column)[..rank]));
            }
            b.iter_mut().for_each(|x| *x *= scale);
            expand.push(LoraExpand {
                weight: weight(&b, TARGETS[t].len(), rank, DType::F32),
                shrink_offset,
                out_offset: TARGETS[t].start,
            });
        }
        if a.is_empty() {
            a.extend([0.0; IN_FEATURES]);
        }
        let of_slot = |all: &[f32]| {
            let own = &all[slot * OUT_FEATURES..][..OUT_FEATURES];
            case.is_weighted.then(|| vector(own))
        };
        LoraWeight {
            shrink: weight(&a, a.len() / IN_FEATURES, IN_FEATURES, DType::F32),
            expand,
            gain: of_slot(&self.gains),
            bias: of_slot(&self.biases),
        }
    }
}

fn check<T: Half>(case: &Case<'_>) {
    let mut random = Random(case.max_rank as u64);
    let live = case.token_slots.len();
    let mut pool = Pool::<T>::new(case, &mut random);
    let mut x: Vec<T> = halves(&random.values(live * IN_FEATURES));
    let mut before: Vec<T> = halves(&random.values(live * OUT_FEATURES));

    let expected = matrix(&floats(&before), live, OUT_FEATURES);
    let adapters: Vec<_> = (0..case.adapters.len())
        .map(|slot| pool.on_the_cpu(case, slot))
        .collect();
    let segments: Vec<_> = case
        .token_slots
        .iter()
        .enumerate()
        .filter_map(|(token, slot)| {
            let weight = adapters.get(usize::try_from(*slot).ok()?)?;
            let rows = token..token + 1;
            Some(LoraSegment { rows, weight })
        })
        .collect();
    farthing_ops::lora(
        &expected,
        &matrix(&floats(&x), live, IN_FEATURES),
        &segments,
    )
    .unwrap();
    let expected: Vec<f64> = flat(&expected).into_iter().map(f64::from).collect();

    x.extend(vec![T::NAN; 3 * IN_FEATURES]);
    before.extend(vec![T::NAN; 3 * OUT_FEATURES]);
    // One more tile than needed.
    let runs = case.runs();
    let num_tiles = runs
        .iter()
        .map(|(_, run)| run.len().div_ceil(16))
        .sum::<usize>()
        + 1;
    assert!(num_tiles <= max_lora_tiles(live, runs.len()) + 1);
    let mut tiles = vec![u32::MAX; num_tiles * LORA_TILE_WORDS];
    lora_tiles(runs, &mut tiles);
    let ranks: Vec<u32> = case
        .adapters
        .iter()
        .flat_map(|(r, _)| r.map(|r| r as u32))
        .collect();
    let scales: Vec<f32> = case
        .adapters
        .iter()
        .flat_map(|(_, scale)| [*scale; 3])
        .collect();
    let row_len = 3 * case.max_rank;
    let places = num_tiles * row_len / 16;
    let shrunk = Launch::new("lora", format!("lora_shrink_{}", T::NAME), 128)
        .grid(num_tiles, row_len / 16, case.splits)
        .memory(&vec![T::NAN; num_tiles * 16 * row_len])
        .memory(&vec![f32::NAN; places * case.splits * 256])
        .memory(&vec![0_u32; places])
        .memory(&x)
        .memory(&pool.a)
        .memory(&tiles)
        .memory(&ranks)
        .memory(&scales)
        .u32(IN_FEATURES)
        .u32(3)
        .u32(case.max_rank)
        .run();
    assert!(shrunk.get::<u32>(2).iter().all(|arrived| *arrived == 0));
    let expanded = Launch::new("lora", format!("lora_expand_{}", T::NAME), 128)
        .grid(num_tiles, OUT_FEATURES.div_ceil(128), 1)
        .memory(&before)
        .memory(&shrunk.get::<T>(0))
        .memory(&pool.b)
        .memory(&tiles)
        .memory(&ranks);
    let expanded = if case.is_weighted {
        expanded.memory(&pool.gains).memory(&pool.biases)
    } else {
        expanded.null().null()
    };
    let expanded = expanded
        .memory(&TARGETS.map(|columns| columns.end as u32))
        .u32(OUT_FEATURES)
        .u32(3)
        .u32(case.max_rank)
        .run();
    let found = expanded.get::<T>(0);
    let (found, padding) = found.split_at(live * OUT_FEATURES);
    // The shrunk activations are rounded before they are expanded. There are up to 64 ranks, and the
    // values are about 1. The result is rounded too.
    assert_close(&floats(found), &expected, 8.0 * T::ROUNDING, T::NAME);
    assert_untouched(padding, "a row that is not live is written");
    for (token, slot) in case.token_slots.iter().enumerate() {
        if *slot < 0 {
            let row = token * OUT_FEATURES..(token + 1) * OUT_FEATURES;
            assert_eq!(floats(&found[row.clone()]), floats(&before[row]));
        }
    }
}

#[test]
fn the_kernel_adds_any_mix_of_adapters() {
    let adapters = [
        ([16, 16, 16], 2.0),
        ([3, 0, 5], 0.5),
        ([0, 8, 0], 1.0),
        ([1, 13, 9], 0.3),
        ([0, 0, 0], 1.0),
    ];
    let mut random = Random(3);
    let mixed = (0..53).map(|_| random.below(6) as i32 - 1).collect();
    let mut sorted = vec![-1; 4];
    sorted.extend([0; 20]);
    sorted.extend([2; 1]);
    sorted.extend([3; 15]);
    for token_slots in [mixed, sorted, vec![1], vec![-1; 17], vec![-1; 16]] {
        for splits in [1, 3, 8] {
            let case = Case {
                adapters: &adapters,
                max_rank: 16,
                splits,
                is_weighted: splits == 3,
                token_slots: token_slots.clone(),
            };
            check::<bf16>(&case);
            check::<f16>(&case);
        }
    }
}

#[test]
fn the_kernel_knows_ranks_of_more_than_one_tile() {
    let adapters = [
        ([32, 17, 20], 1.0),
        ([64, 31, 1], 0.25),
        ([48, 48, 48], 1.0),
    ];
    for max_rank in [64, 80] {
        let case = Case {
            adapters: &adapters,
            max_rank,
            splits: 2,
            is_weighted: false,
            token_slots: vec![0, 1, 2, 2, 2, -1, 1, 0],
        };
        check::<bf16>(&case);
        check::<f16>(&case);
    }
}
