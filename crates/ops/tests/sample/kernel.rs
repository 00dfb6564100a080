//! `kernels/sample.cu` against the CPU.

use farthing_ops::{SampleSpec, Sampled, sample, token_logprobs};

use crate::emulator::Launch;
use crate::reference::{Random, every, matrix};
use crate::{GREEDY, PLAIN};

/// Maximum number of most likely tokens per row that get a log-probability.
const MAX_TOP: usize = 20;

struct Found {
    token: u32,
    status: u32,
    logprobs: Vec<f32>,
    top_tokens: Vec<u32>,
}

/// The kernel's results for rows of logits.
fn on_the_device(logits: &[f32], specs: &[SampleSpec<'_>]) -> Vec<Found> {
    launch(logits, specs).0
}

/// The kernel's results, and the largest number of atomic updates of one address.
fn launch(logits: &[f32], specs: &[SampleSpec<'_>]) -> (Vec<Found>, u32) {
    let live = specs.len();
    let (vocab, rows) = (logits.len() / live, live + 1);
    // With these entries, the lists of the first row do not begin at 0.
    let mut lists = Lists {
        history: vec![u32::MAX; 3],
        bias_tokens: vec![u32::MAX; 2],
        bias_values: vec![f32::NAN; 2],
    };
    let params: Vec<u8> = specs.iter().flat_map(|spec| lists.params(spec)).collect();
    let params = [params, vec![0xff; PARAMS_BYTES]].concat();
    let logits = [logits, &vec![f32::NAN; vocab]].concat();
    let undo = lists.history.len() + lists.bias_tokens.len();
    let memory = Launch::new("sample", "sample", 1024)
        .grid(rows, 1, 1)
        .shared_bytes(8 * vocab.div_ceil(32))
        .memory(&vec![u32::MAX; rows])
        .memory(&vec![u32::MAX; rows])
        .memory(&vec![f32::NAN; rows * (1 + MAX_TOP)])
        .memory(&vec![u32::MAX; rows * MAX_TOP])
        .memory(&vec![f32::NAN; undo])
        .memory(&logits)
        .bytes(params)
        .memory(&lists.history)
        .memory(&lists.bias_tokens)
        .memory(&lists.bias_values)
        .memory(&[live as u32])
        .u32(vocab)
        .u32(lists.history.len())
        .run();
    let same = memory
        .get::<f32>(5)
        .iter()
        .zip(&logits)
        .all(|(a, b)| a.to_bits() == b.to_bits());
    assert!(same, "the logits are not put back");
    let (tokens, status) = (memory.get::<u32>(0), memory.get::<u32>(1));
    assert_eq!((tokens[live], status[live]), (u32::MAX, u32::MAX));
    let (logprobs, top_tokens) = (memory.get::<f32>(2), memory.get::<u32>(3));
    let found = (0..live).map(|row| Found {
        token: tokens[row],
        status: status[row],
        logprobs: logprobs[row * (1 + MAX_TOP)..][..1 + MAX_TOP].to_vec(),
        top_tokens: top_tokens[row * MAX_TOP..][..MAX_TOP].to_vec(),
    });
    (found.collect(), memory.hottest_updates)
}

const PARAMS_BYTES: usize = 72;

struct Lists {
    history: Vec<u32>,
    bias_tokens: Vec<u32>,
    bias_values: Vec<f32>,
}

impl Lists {
    /// The bytes of `Params`. Appends the spec's lists to `self`.
    fn params(&mut self, spec: &SampleSpec<'_>) -> Vec<u8> {
        let history_start = self.history.len() as u32;
        let bias_start = self.bias_tokens.len() as u32;
        self.history.extend(spec.history);
        self.bias_tokens
            .extend(spec.logit_bias.iter().map(|(token, _)| token));
        self.bias_values
            .extend(spec.logit_bias.iter().map(|(_, bias)| bias));
        let floats = [
            spec.temperature,
            spec.top_p,
            spec.min_p,
            spec.presence_penalty,
            spec.frequency_penalty,
            spec.repetition_penalty,
        ];
        let integers = [
            spec.top_k as u32,
            spec.logprobs.map_or(0, |top| top as u32 + 1),
            history_start,
            history_start + spec.history_prompt_tokens as u32,
            self.history.len() as u32,
            bias_start,
            self.bias_tokens.len() as u32,
            0,
        ];
        let mut bytes = Vec::with_capacity(PARAMS_BYTES);
        bytes.extend(spec.seed.to_le_bytes());
        bytes.extend(spec.position.to_le_bytes());
        bytes.extend(floats.into_iter().flat_map(f32::to_le_bytes));
        bytes.extend(integers.into_iter().flat_map(u32::to_le_bytes));
        bytes
    }
}

fn assert_same_logprobs(found: &Found, expected: &Sampled) {
    // f32 values of up to 30, computed from sums in another order.
    let close = |found: f32, expected: f32| (found - expected).abs() <= 1e-5;
    let (own, top) = found.logprobs.split_first().unwrap();
    assert!(
        close(*own, expected.logprob.unwrap()),
        "{own} for {expected:?}"
    );
    for (i, (token, logprob)) in expected.top.iter().enumerate() {
        assert_eq!(found.top_tokens[i], *token);
        assert!(close(top[i], *logprob), "{} for {logprob}", top[i]);
    }
    assert!(top[expected.top.len()..].iter().all(|x| x.is_nan()));
    assert!(
        found.top_tokens[expected.top.len()..]
            .iter()
            .all(|token| *token == u32::MAX)
    );
}

/// Samples the same logits with all specs on the device and on the CPU. Returns the number of tokens
/// that differ.
fn differences(logits: &[f32], specs: &[SampleSpec<'_>]) -> usize {
    let vocab = logits.len();
    let logits = logits.repeat(specs.len());
    let expected = every(sample(&matrix(&logits, specs.len(), vocab), specs));
    let found = on_the_device(&logits, specs);
    let mut differences = 0;
    for (found, expected) in found.iter().zip(&expected) {
        assert_eq!(found.status, 0);
        if found.token != expected.token {
            differences += 1;
        } else if expected.logprob.is_some() {
            assert_same_logprobs(found, expected);
        }
    }
    differences
}

/// Specs for all sampling features, each with several seeds.
fn specs<'a>(history: &'a [u32], logit_bias: &'a [(u32, f32)]) -> Vec<SampleSpec<'a>> {
    let penalised = SampleSpec {
        presence_penalty: 0.3,
        frequency_penalty: 0.2,
        repetition_penalty: 1.3,
        history,
        history_prompt_tokens: history.len() / 3,
        ..PLAIN
    };
    let kinds = [
        PLAIN,
        SampleSpec { top_k: 1, ..PLAIN },
        SampleSpec { top_k: 7, ..PLAIN },
        SampleSpec {
            top_p: 0.3,
            ..PLAIN
        },
        SampleSpec {
            top_p: 0.95,
            ..PLAIN
        },
        SampleSpec {
            top_p: 0.0,
            ..PLAIN
        },
        SampleSpec {
            min_p: 0.1,
            ..PLAIN
        },
        SampleSpec {
            top_k: 40,
            top_p: 0.8,
            min_p: 0.02,
            ..PLAIN
        },
        SampleSpec {
            temperature: 0.3,
            top_p: 0.9,
            ..PLAIN
        },
        SampleSpec {
            temperature: 1.7,
            top_k: 300,
            ..PLAIN
        },
        SampleSpec {
            logit_bias,
            ..PLAIN
        },
        SampleSpec {
            temperature: 0.0,
            logit_bias,
            ..penalised.clone()
        },
        SampleSpec {
            top_p: 0.9,
            logit_bias,
            logprobs: Some(2),
            ..penalised.clone()
        },
        SampleSpec {
            logprobs: Some(0),
            ..penalised.clone()
        },
        SampleSpec {
            logprobs: Some(20),
            ..GREEDY
        },
        SampleSpec {
            logprobs: Some(5),
            ..PLAIN
        },
    ];
    let seeds = [0, u64::MAX, 0x0123_4567_89ab_cdef];
    let mut specs = Vec::new();
    for (i, seed) in seeds.into_iter().enumerate() {
        specs.extend(kinds.iter().map(|kind| SampleSpec {
            seed,
            position: (i as u64) << 31,
            ..kind.clone()
        }));
    }
    specs
}

#[test]
fn the_kernel_draws_the_cpus_tokens() {
    for vocab in [5, 1000, 4099] {
        let mut random = Random(vocab as u64);
        let logits: Vec<f32> = random.values(vocab).into_iter().map(|x| x * 6.0).collect();
        let history: Vec<u32> = (0..30).map(|_| random.below(vocab) as u32).collect();
        let bias = [(0, 3.0), (vocab as u32 - 1, -100.0), (2, 0.5)];
        let specs = specs(&history, &bias);
        // The exponentials differ in the last bits, so a draw at the boundary of two tokens may differ.
        let differences = differences(&logits, &specs);
        assert!(differences <= 1, "{differences} of {} differ", specs.len());
    }
}

#[test]
fn the_kernel_keeps_the_lower_ids_of_a_tie() {
    let mut logits = vec![-5.0; 3000];
    for token in [17, 999, 1000, 2500] {
        logits[token] = 1.0;
    }
    let tied = |top_k: usize, top_p: f32| {
        let specs = (0..10).map(|position| SampleSpec {
            top_k,
            top_p,
            position,
            logprobs: Some(3),
            ..PLAIN
        });
        specs.collect::<Vec<_>>()
    };
    let specs = [tied(2, 1.0), tied(3, 0.6), tied(0, 0.1), tied(700, 0.99)].concat();
    assert_eq!(differences(&logits, &specs), 0);
}

#[test]
fn no_address_is_updated_by_all_tokens() {
    const VOCAB: usize = 128_256;
    // Atomic updates of one address are serialized.
    const FEW: u32 = 5_000;
    const TENTH: u32 = VOCAB as u32 / 10;
    let mut random = Random(5);
    // Sums of three uniform values, which are almost normally distributed, with a standard deviation
    // of 2.
    let uniform = random.values(3 * VOCAB);
    let peaked: Vec<f32> = uniform
        .chunks(3)
        .map(|x| 2.0 * x.iter().sum::<f32>())
        .collect();
    let two_values: Vec<f32> = (0..VOCAB).map(|i| (i % 2) as f32).collect();
    let equal = vec![1.0; VOCAB];
    let drawn = |temperature, top_p, top_k| SampleSpec {
        temperature,
        top_p,
        top_k,
        ..PLAIN
    };
    let cases = [
        (&peaked, drawn(0.1, 0.9, 0), FEW),
        // Equal weights: each warp makes one update per pass. In both later passes it is in the first
        // bin.
        (&equal, drawn(1.0, 0.9, 0), TENTH),
        (&equal, drawn(1.0, 1.0, 1_000), TENTH),
        // A warp stops combining its updates at a token that is alone in its bin, before the tokens of
        // weight 0.
        (&peaked, drawn(0.02, 1.0, 1_000), TENTH),
        (&peaked, drawn(1.0, 0.9, 0), TENTH),
        (&peaked, drawn(100.0, 0.9, 0), TENTH),
        (&two_values, drawn(1.0, 0.9, 0), TENTH),
    ];
    for (logits, spec, bound) in cases {
        let spec = [spec];
        let (found, hottest) = launch(logits, &spec);
        let expected = every(sample(&matrix(logits, 1, VOCAB), &spec));
        assert_eq!(found[0].token, expected[0].token, "{spec:?}");
        assert!(
            hottest <= bound,
            "{spec:?}: {hottest} updates of one address"
        );
    }
}

/// Pearson's χ² test of 400 draws. With 9 degrees of freedom, one in 10,000 exceeds 33.7.
#[test]
fn the_kernels_draws_follow_the_distribution() {
    const DRAWS: usize = 400;
    let logits: Vec<f32> = (0..10).map(|i| (i as f32 * 0.37).sin()).collect();
    let specs: Vec<_> = (0..DRAWS as u64)
        .map(|position| SampleSpec { position, ..PLAIN })
        .collect();
    let mut counts = [0.0; 10];
    for found in on_the_device(&logits.repeat(DRAWS), &specs) {
        counts[found.token as usize] += 1.0;
    }
    let total: f64 = logits.iter().map(|x| f64::from(*x).exp()).sum();
    let expected = logits
        .iter()
        .map(|x| f64::from(*x).exp() / total * DRAWS as f64);
    let statistic: f64 = expected
        .zip(counts)
        .map(|(e, count)| (count - e) * (count - e) / e)
        .sum();
    assert!(statistic < 33.7, "{statistic}");
}

#[test]
fn the_kernel_tells_rows_that_have_no_token() {
    let mut rows = vec![vec![0.5; 100]; 5];
    rows[0][99] = f32::NAN;
    rows[1][0] = -f32::NAN;
    rows[2].fill(f32::NEG_INFINITY);
    rows[3][7] = f32::INFINITY;
    rows[4][..50].fill(f32::NEG_INFINITY);
    let found = on_the_device(
        &rows.concat(),
        &vec![
            SampleSpec {
                top_p: 0.5,
                ..PLAIN
            };
            5
        ],
    );
    let status: Vec<u32> = found.iter().map(|found| found.status).collect();
    assert_eq!(status, [1, 1, 2, 2, 0]);
    assert!(found[4].token >= 50);
}

#[test]
fn the_kernel_tells_the_logprobs_of_given_tokens() {
    let (vocab, tokens) = (777, [0_u32, 776, 400]);
    let mut random = Random(9);
    let logits: Vec<f32> = random
        .values(3 * vocab)
        .into_iter()
        .map(|x| x * 8.0)
        .collect();
    for top in [0, 1, 20] {
        let memory = Launch::new("sample", "token_logprobs", 1024)
            .grid(4, 1, 1)
            .memory(&[f32::NAN; 4 * (1 + MAX_TOP)])
            .memory(&[u32::MAX; 4 * MAX_TOP])
            .memory(&[u32::MAX; 4])
            .memory(&logits)
            .memory(&tokens)
            .memory(&[3_u32])
            .u32(vocab)
            .u32(top)
            .run();
        let (logprobs, top_tokens) = (memory.get::<f32>(0), memory.get::<u32>(1));
        let expected = every(token_logprobs(&matrix(&logits, 3, vocab), &tokens, top));
        for (row, expected) in expected.iter().enumerate() {
            let found = Found {
                token: tokens[row],
                status: memory.get::<u32>(2)[row],
                logprobs: logprobs[row * (1 + MAX_TOP)..][..1 + MAX_TOP].to_vec(),
                top_tokens: top_tokens[row * MAX_TOP..][..MAX_TOP].to_vec(),
            };
            assert_eq!(found.status, 0);
            assert_same_logprobs(&found, expected);
        }
        assert!(logprobs[3 * (1 + MAX_TOP)..].iter().all(|x| x.is_nan()));
    }
}
