//! Adapters compared with matrix products in f64.
#![allow(clippy::unwrap_used, clippy::panic, unreachable_pub)]

mod emulator;
#[path = "lora/kernel.rs"]
mod kernel;
mod reference;

use std::ops::Range;

use candle_core::DType;
use farthing_ops::{LoraExpand, LoraSegment, LoraWeight, lora};
use reference::{Random, assert_close, flat, matrix, message, on_every_level, vector, weight};

struct Target {
    expand: Vec<f32>,
    rank: usize,
    columns: Range<usize>,
}

/// An adapter of the given ranks and columns, with its plain matrices.
fn adapter(
    random: &mut Random,
    in_features: usize,
    targets: &[(usize, Range<usize>)],
    dtype: DType,
) -> (LoraWeight, Vec<f32>, Vec<Target>) {
    let ranks: usize = targets.iter().map(|(rank, _)| rank).sum();
    let shrink = random.exact(ranks * in_features, dtype);
    let mut shrink_offset = 0;
    let mut expand = Vec::new();
    let mut plain = Vec::new();
    for (rank, columns) in targets {
        let values = random.exact(columns.len() * rank, dtype);
        let weight = weight(&values, columns.len(), *rank, dtype);
        expand.push(LoraExpand {
            weight,
            shrink_offset,
            out_offset: columns.start,
        });
        plain.push(Target {
            expand: values,
            rank: *rank,
            columns: columns.clone(),
        });
        shrink_offset += rank;
    }
    let shrink_weight = weight(&shrink, ranks, in_features, dtype);
    (
        LoraWeight {
            shrink: shrink_weight,
            expand,
            gain: None,
            bias: None,
        },
        shrink,
        plain,
    )
}

#[test]
fn adapters_of_one_batch_touch_their_own_rows_and_columns() {
    let mut random = Random(1);
    let (m, in_features, out_features) = (40, 50, 96);
    for dtype in [DType::F32, DType::BF16] {
        let mut adapters = [
            adapter(
                &mut random,
                in_features,
                &[(4, 0..64), (4, 64..80), (4, 80..96)],
                dtype,
            ),
            adapter(&mut random, in_features, &[(16, 64..80)], dtype),
            adapter(&mut random, in_features, &[(3, 0..64), (5, 80..96)], dtype),
        ];
        // One adapter has both a gain and a bias, as from DoRA and biases, and one has neither.
        let (gain, bias) = (random.values(out_features), random.values(out_features));
        adapters[2].0.gain = Some(vector(&gain));
        adapters[2].0.bias = Some(vector(&bias));
        adapters[1].0.bias = Some(vector(&bias));
        let segments = [(0, 0..1), (1, 1..8), (2, 8..8), (2, 9..30), (0, 33..40)];
        let x = random.values(m * in_features);
        let before = random.values(m * out_features);

        let mut expected: Vec<f64> = before.iter().map(|x| f64::from(*x)).collect();
        for (index, rows) in &segments {
            let (weight, shrink, targets) = &adapters[*index];
            for row in rows.clone() {
                for column in 0..out_features {
                    let out = &mut expected[row * out_features + column];
                    if weight.gain.is_some() {
                        *out *= f64::from(gain[column]);
                    }
                    if weight.bias.is_some() {
                        *out += f64::from(bias[column]);
                    }
                }
                let x = &x[row * in_features..][..in_features];
                let shrunk: Vec<f64> = shrink
                    .chunks_exact(in_features)
                    .map(|a| {
                        a.iter()
                            .zip(x)
                            .map(|(a, x)| f64::from(*a) * f64::from(*x))
                            .sum()
                    })
                    .collect();
                let mut offset = 0;
                for target in targets {
                    let shrunk = &shrunk[offset..offset + target.rank];
                    for (column, b) in target
                        .columns
                        .clone()
                        .zip(target.expand.chunks(target.rank))
                    {
                        let terms = b.iter().zip(shrunk).map(|(b, s)| f64::from(*b) * s);
                        expected[row * out_features + column] += terms.sum::<f64>();
                    }
                    offset += target.rank;
                }
            }
        }
        on_every_level(|level| {
            let out = matrix(&before, m, out_features);
            let segments: Vec<_> = segments
                .iter()
                .map(|(index, rows)| LoraSegment {
                    rows: rows.clone(),
                    weight: &adapters[*index].0,
                })
                .collect();
            lora(&out, &matrix(&x, m, in_features), &segments).unwrap();
            // Levels that round activations to bf16 do so twice here.
            let rounds = level.rounds_activations() && dtype == DType::BF16;
            let tolerance = if rounds { 3e-2 } else { 2e-5 };
            let found = flat(&out);
            assert_close(
                &found,
                &expected,
                tolerance,
                &format!("{dtype:?} {level:?}"),
            );
            let untouched = 30 * out_features..33 * out_features;
            assert_eq!(found[untouched.clone()], before[untouched]);
        });
    }
}

#[test]
fn no_segments_are_no_work() {
    let out = matrix(&[1.0; 4], 2, 2);
    lora(&out, &matrix(&[1.0; 4], 2, 2), &[]).unwrap();
    assert_eq!(flat(&out), [1.0; 4]);
}

#[test]
fn what_would_collide_is_refused() {
    let mut random = Random(2);
    let (good, ..) = adapter(&mut random, 4, &[(2, 0..8)], DType::F32);
    let (wide, ..) = adapter(&mut random, 4, &[(2, 4..12)], DType::F32);
    let (double, ..) = adapter(&mut random, 4, &[(2, 0..5), (2, 4..8)], DType::F32);
    let out = matrix(&[0.0; 24], 3, 8);
    let x = matrix(&[0.0; 12], 3, 4);
    let run = |segments: &[(Range<usize>, &LoraWeight)]| {
        let segments: Vec<_> = segments
            .iter()
            .map(|(rows, weight)| LoraSegment {
                rows: rows.clone(),
                weight,
            })
            .collect();
        message(lora(&out, &x, &segments))
    };
    assert!(run(&[(0..2, &good), (1..3, &good)]).contains("segment 1..3 overlaps"));
    assert!(run(&[(0..4, &good)]).contains("leaves the 3 rows"));
    assert!(run(&[(0..1, &wide)]).contains("leaves the 8 columns"));
    assert!(run(&[(0..1, &double)]).contains("overlaps another target"));
    let (mut long, ..) = adapter(&mut random, 4, &[(2, 0..8)], DType::F32);
    long.gain = Some(vector(&[1.0; 9]));
    assert!(run(&[(0..1, &long)]).contains("a gain or bias of [9] for 8 columns"));
    let (narrow, ..) = adapter(&mut random, 3, &[(2, 0..8)], DType::F32);
    assert!(run(&[(0..1, &narrow)]).contains("an adapter of 3 inputs"));
}
