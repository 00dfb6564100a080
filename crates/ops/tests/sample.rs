//! The sampler compared with hand-computed cases, statistics and published test vectors.
#![allow(clippy::unwrap_used, clippy::panic, unreachable_pub)]

mod emulator;
#[path = "sample/kernel.rs"]
mod kernel;
mod reference;
#[path = "sample/textbook.rs"]
mod textbook;

use std::collections::HashMap;

use candle_core::Tensor;
use farthing_ops::{SampleFault, SampleSpec, Sampled, philox4x32, sample, token_logprobs};
use reference::{Random, every, matrix, message, on_every_level};

const PLAIN: SampleSpec<'static> = SampleSpec {
    seed: 7,
    ..SampleSpec::PLAIN
};

const GREEDY: SampleSpec<'static> = SampleSpec {
    temperature: 0.0,
    ..PLAIN
};

fn row(logits: &[f32]) -> Tensor {
    matrix(logits, 1, logits.len())
}

fn one(logits: &[f32], spec: SampleSpec<'_>) -> Sampled {
    every(sample(&row(logits), &[spec])).remove(0)
}

/// How often each token is drawn at the positions `0..draws`.
fn counts(logits: &[f32], spec: &SampleSpec<'_>, draws: usize) -> HashMap<u32, usize> {
    let mut counts = HashMap::new();
    let rows = 500;
    let tensor = matrix(&logits.repeat(rows), rows, logits.len());
    for batch in 0..draws / rows {
        let specs: Vec<_> = (0..rows)
            .map(|i| SampleSpec {
                position: (batch * rows + i) as u64,
                ..spec.clone()
            })
            .collect();
        for sampled in every(sample(&tensor, &specs)) {
            *counts.entry(sampled.token).or_default() += 1;
        }
    }
    counts
}

fn support(logits: &[f32], spec: &SampleSpec<'_>) -> Vec<u32> {
    let mut tokens: Vec<u32> = counts(logits, spec, 4000).into_keys().collect();
    tokens.sort_unstable();
    tokens
}

fn logs(probabilities: &[f32]) -> Vec<f32> {
    probabilities.iter().map(|p| p.ln()).collect()
}

/// Test vectors of Random123 1.14, `tests/kat_vectors`.
#[test]
fn philox_gives_the_known_answers() {
    assert_eq!(
        philox4x32([0; 4], [0; 2]),
        [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]
    );
    assert_eq!(
        philox4x32([u32::MAX; 4], [u32::MAX; 2]),
        [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]
    );
    assert_eq!(
        philox4x32(
            [0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344],
            [0xa409_3822, 0x299f_31d0]
        ),
        [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1]
    );
}

#[test]
fn greedy_takes_the_lowest_id_of_the_highest() {
    let mut logits = Random(1).values(1000);
    for token in [999, 41, 40, 500] {
        logits[token] = 2.0;
    }
    on_every_level(|_| {
        assert_eq!(one(&logits, GREEDY).token, 40);
        let flat = [f32::NEG_INFINITY, -3.0, -3.0];
        assert_eq!(one(&flat, GREEDY).token, 1);
    });
}

#[test]
fn filters_keep_what_they_should() {
    let logits = logs(&[0.05, 0.4, 0.1, 0.25, 0.2]);
    on_every_level(|_| {
        let keeps = |spec: SampleSpec<'_>, tokens: &[u32]| {
            assert_eq!(support(&logits, &spec), tokens, "{spec:?}");
        };
        keeps(PLAIN, &[0, 1, 2, 3, 4]);
        keeps(SampleSpec { top_k: 1, ..PLAIN }, &[1]);
        keeps(SampleSpec { top_k: 3, ..PLAIN }, &[1, 3, 4]);
        keeps(SampleSpec { top_k: 9, ..PLAIN }, &[0, 1, 2, 3, 4]);
        keeps(
            SampleSpec {
                top_p: 0.39,
                ..PLAIN
            },
            &[1],
        );
        keeps(
            SampleSpec {
                top_p: 0.41,
                ..PLAIN
            },
            &[1, 3],
        );
        keeps(
            SampleSpec {
                top_p: 0.86,
                ..PLAIN
            },
            &[1, 2, 3, 4],
        );
        keeps(
            SampleSpec {
                top_p: 0.0,
                ..PLAIN
            },
            &[1],
        );
        keeps(
            SampleSpec {
                min_p: 0.49,
                ..PLAIN
            },
            &[1, 3, 4],
        );
        keeps(
            SampleSpec {
                min_p: 1.0,
                ..PLAIN
            },
            &[1],
        );
        // Of the three that top-k leaves, 1 has 0.47 and 1 with 3 has 0.76.
        keeps(
            SampleSpec {
                top_k: 3,
                top_p: 0.7,
                ..PLAIN
            },
            &[1, 3],
        );
        keeps(
            SampleSpec {
                top_k: 3,
                top_p: 0.8,
                ..PLAIN
            },
            &[1, 3, 4],
        );
        // Of what min-p leaves, 1 has 0.47.
        keeps(
            SampleSpec {
                min_p: 0.49,
                top_p: 0.45,
                ..PLAIN
            },
            &[1],
        );
        // Half the temperature squares the odds: 0.59, 0.23, 0.15, 0.04, 0.01.
        keeps(
            SampleSpec {
                temperature: 0.5,
                top_p: 0.58,
                ..PLAIN
            },
            &[1],
        );
        keeps(
            SampleSpec {
                temperature: 1e-30,
                ..PLAIN
            },
            &[1],
        );
    });
}

#[test]
fn ties_at_a_filter_keep_the_lower_ids() {
    let logits = [0.0; 100];
    assert_eq!(
        support(&logits, &SampleSpec { top_k: 3, ..PLAIN }),
        [0, 1, 2]
    );
    assert_eq!(
        support(
            &logits,
            &SampleSpec {
                top_p: 0.0251,
                ..PLAIN
            }
        ),
        [0, 1, 2]
    );
}

#[test]
fn penalties_by_hand() {
    // Prompt 0, 1; output 1, 2, 2. Repetition 2: 4 → 2, 3 → 1.5, -1 → -2; frequency 0.5 and
    // presence 0.25: 1.5 - 0.75 = 0.75 and -2 - 1.25 = -3.25. Bias comes first.
    let spec = SampleSpec {
        repetition_penalty: 2.0,
        frequency_penalty: 0.5,
        presence_penalty: 0.25,
        history: &[0, 1, 1, 2, 2],
        history_prompt_tokens: 2,
        ..GREEDY
    };
    // The bias shows where a token overtakes the others: token 4 has the logit that it gets as
    // bias.
    let logits = [4.0, 3.0, -1.0, -9.0, 0.0];
    let chosen = |spec: &SampleSpec<'_>, only: usize, bias: f32| {
        let mut logits = logits;
        for (token, logit) in logits.iter_mut().enumerate() {
            if token != only && token != 4 {
                *logit = -50.0;
            }
        }
        one(
            &logits,
            SampleSpec {
                logit_bias: &[(4, bias)],
                ..spec.clone()
            },
        )
        .token as usize
    };
    for (token, penalised) in [(0, 2.0), (1, 0.75), (2, -3.25), (3, -9.0)] {
        assert_eq!(chosen(&spec, token, penalised - 0.01), token);
        assert_eq!(chosen(&spec, token, penalised + 0.01), 4);
    }
    // A bias is added before the repetition penalty: (4 + 2) / 2 = 3.
    let biased = |bias| {
        let logit_bias = &[(0, 2.0), (4, bias)];
        one(
            &[4.0, -50.0, -50.0, -50.0, 0.0],
            SampleSpec {
                logit_bias,
                ..spec.clone()
            },
        )
        .token
    };
    assert_eq!((biased(2.99), biased(3.01)), (0, 4));
    // A row after a penalised one starts from zero counts.
    let next = SampleSpec {
        history: &[2],
        history_prompt_tokens: 0,
        ..spec.clone()
    };
    assert_eq!(chosen(&next, 2, -2.76), 2);
    assert_eq!(chosen(&next, 2, -2.74), 4);
}

#[test]
fn draws_follow_the_distribution() {
    let mut random = Random(5);
    let logits: Vec<f32> = random.values(1500).iter().map(|x| x * 2.0).collect();
    let spec = SampleSpec {
        temperature: 0.7,
        ..PLAIN
    };
    let draws = 20_000;
    for spec in [
        spec.clone(),
        SampleSpec {
            top_p: 1.0 - 1e-6,
            ..spec
        },
    ] {
        let counts = counts(&logits, &spec, draws);
        let weights: Vec<f64> = logits.iter().map(|x| (f64::from(*x) / 0.7).exp()).collect();
        let total: f64 = weights.iter().sum();
        // Neighbouring ids share a bin of about 200 expected draws.
        let (mut chi_square, mut bins) = (0.0, 0);
        let (mut expected, mut found) = (0.0, 0.0);
        for (token, weight) in weights.iter().enumerate() {
            expected += weight / total * draws as f64;
            found += *counts.get(&(token as u32)).unwrap_or(&0) as f64;
            if expected > 200.0 {
                chi_square += (found - expected) * (found - expected) / expected;
                (expected, found) = (0.0, 0.0);
                bins += 1;
            }
        }
        // Mean and variance of the distribution are n and 2n: five standard deviations.
        let n = f64::from(bins - 1);
        assert!(bins > 50, "{bins} bins");
        assert!(
            (chi_square - n).abs() < 5.0 * (2.0 * n).sqrt(),
            "χ² = {chi_square} of {n}"
        );
    }
}

#[test]
fn a_row_draws_the_same_in_any_company() {
    let mut random = Random(6);
    let (rows, vocab) = (13, 777);
    let logits = random.values(rows * vocab);
    let specs: Vec<_> = (0..rows as u64)
        .map(|i| SampleSpec {
            seed: i / 3,
            position: i,
            top_p: if i % 2 == 0 { 0.9 } else { 1.0 },
            logprobs: Some(2),
            ..PLAIN
        })
        .collect();
    let together = every(sample(&matrix(&logits, rows, vocab), &specs));
    for (i, spec) in specs.iter().enumerate() {
        assert_eq!(
            one(&logits[i * vocab..][..vocab], spec.clone()),
            together[i]
        );
    }
    let other: Vec<u32> = (0..20)
        .map(|seed| one(&logits[..vocab], SampleSpec { seed, ..PLAIN }).token)
        .collect();
    assert!(
        other.iter().any(|token| *token != other[0]),
        "the seed must matter"
    );
}

#[test]
fn logprobs_are_of_the_unmodified_logits() {
    let mut random = Random(7);
    let logits: Vec<f32> = random.values(3000).iter().map(|x| x * 10.0).collect();
    let highest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let total: f64 = logits.iter().map(|x| f64::from(x - highest).exp()).sum();
    let logprob = |token: u32| f64::from(logits[token as usize] - highest) - total.ln();
    on_every_level(|level| {
        let spec = SampleSpec {
            temperature: 3.0,
            logit_bias: &[(17, 100.0)],
            logprobs: Some(5),
            ..PLAIN
        };
        let sampled = one(&logits, spec);
        assert_eq!(sampled.token, 17, "{level:?}");
        let found = f64::from(sampled.logprob.unwrap());
        assert!(
            (found - logprob(17)).abs() < 2e-6,
            "{found} is not {}",
            logprob(17)
        );
        let mut order: Vec<u32> = (0..3000).collect();
        order.sort_by(|a, b| {
            logits[*b as usize]
                .total_cmp(&logits[*a as usize])
                .then(a.cmp(b))
        });
        let tokens: Vec<u32> = sampled.top.iter().map(|(token, _)| *token).collect();
        assert_eq!(tokens, order[..5]);
        for (token, found) in &sampled.top {
            assert!((f64::from(*found) - logprob(*token)).abs() < 2e-6);
        }
        let told = every(token_logprobs(&row(&logits), &[2999], 0)).remove(0);
        assert_eq!((told.token, told.top.len()), (2999, 0));
        assert!((f64::from(told.logprob.unwrap()) - logprob(2999)).abs() < 2e-6);
    });
    let all = one(
        &[1.0, 2.0],
        SampleSpec {
            logprobs: Some(9),
            ..GREEDY
        },
    );
    assert_eq!(
        all.top.iter().map(|(token, _)| *token).collect::<Vec<_>>(),
        [1, 0]
    );
}

#[test]
fn bad_rows_and_specs_are_errors() {
    let run = |logits: &[f32], spec| sample(&row(logits), &[spec]).unwrap().remove(0);
    for at in [0, 20, 32] {
        let mut logits = [0.0; 33];
        logits[at] = f32::NAN;
        assert_eq!(run(&logits, PLAIN), Err(SampleFault::Nan));
        assert_eq!(run(&logits, GREEDY), Err(SampleFault::Nan));
        let told = token_logprobs(&row(&logits), &[1], 1).unwrap();
        assert_eq!(told, [Err(SampleFault::Nan)]);
    }
    let not_finite = Err(SampleFault::NotFinite);
    assert_eq!(run(&[f32::NEG_INFINITY; 3], PLAIN), not_finite);
    assert_eq!(run(&[f32::INFINITY, 0.0], PLAIN), not_finite);
    let unknown = |token, vocab| Err(SampleFault::UnknownToken { token, vocab });
    let spec = SampleSpec {
        logit_bias: &[(2, 1.0)],
        ..PLAIN
    };
    assert_eq!(run(&[0.0; 2], spec), unknown(2, 2));
    let history = &[5];
    let spec = SampleSpec {
        history,
        presence_penalty: 1.0,
        ..PLAIN
    };
    assert_eq!(run(&[0.0; 2], spec), unknown(5, 2));
    assert!(message(sample(&row(&[0.0]), &[])).contains("0 rows to sample"));
    let told = token_logprobs(&row(&[0.0]), &[1], 0).unwrap();
    assert_eq!(told, [unknown(1, 1)]);
}

/// A row that cannot be sampled changes nothing for the rows beside it, whatever made it so.
#[test]
fn a_bad_row_leaves_the_others_alone() {
    let good = [1.0, 3.0, 2.0];
    let divided = SampleSpec {
        repetition_penalty: 1e-39,
        history: &[1],
        ..GREEDY
    };
    let bad = [
        ([f32::NAN, 0.0, 0.0], GREEDY),
        ([f32::INFINITY, 0.0, 0.0], GREEDY),
        (good, divided),
    ];
    for (logits, spec) in bad {
        let logits = [good, logits, good].concat();
        let results = sample(&matrix(&logits, 3, 3), &[GREEDY, spec, GREEDY]).unwrap();
        assert!(results[1].is_err(), "{results:?}");
        for result in [&results[0], &results[2]] {
            assert_eq!(result.as_ref().unwrap().token, 1);
        }
    }
}
