//! Splitting the seconds of a step among its rows, and the model behind it.
#![allow(clippy::unwrap_used, clippy::panic, unreachable_pub)]

use std::{convert::Infallible, sync::Arc, time::Instant};

use farthing_engine::{
    Calibrated, Calibration, Fit, FitSource, Meter, RowContext, RowWork, SlowStep, SplitBasis,
    StepFeatures, StepModel, StepWork, TokenSeconds,
};
use farthing_scheduler::{
    AdapterId, Batch, BatchRow, BlockId, SampleRow, SamplingParams, SequenceId,
};

const LEGAL: AdapterId = AdapterId([1; 32]);
const MEDICAL: AdapterId = AdapterId([2; 32]);
const ADAPTER_BYTES: usize = 1 << 20;

/// A row of a prompt, after which a token is sampled.
fn prompt(start: usize, new_tokens: usize, adapter: Option<AdapterId>) -> BatchRow {
    BatchRow {
        sequence: SequenceId(0),
        tokens: vec![0; new_tokens],
        start,
        prompt_tokens: new_tokens,
        block_table: vec![BlockId(0)],
        adapter,
        sample: Some(SampleRow {
            params: Arc::new(SamplingParams::default()),
            history: Vec::new(),
            history_prompt_tokens: 0,
            position: 0,
        }),
        prompt_logprobs: None,
        next_prompt_token: None,
    }
}

fn decode(start: usize, adapter: Option<AdapterId>) -> BatchRow {
    BatchRow {
        prompt_tokens: 0,
        ..prompt(start, 1, adapter)
    }
}

fn cached(cached_tokens: usize) -> RowContext {
    RowContext {
        cached_tokens,
        ..RowContext::default()
    }
}

/// A device whose steps take exactly this long.
const DEVICE: StepModel = StepModel {
    fixed_seconds: 5e-3,
    seconds_per_token: [1e-4, 5e-4, 5e-4],
    seconds_per_logits: 3e-4,
    seconds_per_prompt_key: 1e-6,
    seconds_per_decode_key: 2e-6,
    seconds_per_adapter_byte: 1e-11,
    seconds_per_adapter: 1e-3,
    fit: Fit {
        steps: 0,
        coefficients: 0,
        r_squared: 1.0,
        residual_p95: 0.0,
        source: FitSource::Calibration,
        reach: StepFeatures::UNLIMITED,
    },
};

fn meter(model: StepModel) -> Meter {
    let mut meter = Meter::new(model, None, Instant::now());
    meter.add_adapter(LEGAL, ADAPTER_BYTES);
    meter.add_adapter(MEDICAL, ADAPTER_BYTES);
    meter
}

fn works(meter: &Meter, rows: &[BatchRow]) -> Vec<RowWork> {
    rows.iter().map(|row| meter.work(row, 0)).collect()
}

fn calibration() -> Calibration {
    Calibration {
        num_blocks: 4096,
        max_num_seqs: 64,
        max_num_batched_tokens: 1024,
        max_model_len: 2048,
        sliding_window: None,
        adapters: vec![(LEGAL, ADAPTER_BYTES), (MEDICAL, ADAPTER_BYTES)],
    }
}

fn near(a: f64, b: f64) -> bool {
    (a - b).abs() <= 1e-9 * a.abs().max(b.abs())
}

#[test]
fn a_prompt_reads_itself_as_input_and_its_cached_part_as_cached() {
    let work = RowWork::of(&prompt(10, 4, None), cached(10));
    // Four new tokens see 11, 12, 13 and 14 tokens, ten of which are cached.
    assert_eq!(
        work.input,
        StepWork {
            tokens: 4.0,
            prompt_keys: 1.0 + 2.0 + 3.0 + 4.0,
            ..StepWork::default()
        }
    );
    assert_eq!(
        work.cached,
        StepWork {
            prompt_keys: 40.0,
            ..StepWork::default()
        }
    );
    assert_eq!(
        work.output,
        StepWork {
            logits: 1.0,
            ..StepWork::default()
        }
    );
}

#[test]
fn a_decode_is_all_output() {
    let work = RowWork::of(&decode(99, None), cached(64));
    assert_eq!(work.input, StepWork::default());
    assert_eq!(work.cached, StepWork::default());
    assert_eq!(
        work.output,
        StepWork {
            tokens: 1.0,
            logits: 1.0,
            decode_keys: 100.0,
            ..StepWork::default()
        }
    );
}

/// After a preemption, generated tokens are computed again together with the prompt.
#[test]
fn what_is_computed_again_stays_what_it_was() {
    let row = BatchRow {
        prompt_tokens: 3,
        ..prompt(0, 5, None)
    };
    let work = RowWork::of(&row, cached(0));
    assert_eq!((work.input.tokens, work.output.tokens), (3.0, 2.0));
    assert_eq!(
        (work.input.prompt_keys, work.output.prompt_keys),
        (6.0, 9.0)
    );
}

#[test]
fn a_sliding_window_is_all_that_is_read() {
    let windowed = |cached_tokens| RowContext {
        cached_tokens,
        sliding_window: Some(8),
        adapter_bytes: 0,
    };
    // Positions 6 to 9 see 7, 8, 8 and 8 tokens.
    let work = RowWork::of(&prompt(6, 4, None), windowed(0));
    assert_eq!(work.input.prompt_keys, 31.0);
    // The last of them sees 2 to 9: of the six cached ones, four are left.
    let work = RowWork::of(&prompt(6, 4, None), windowed(6));
    assert_eq!(
        (work.input.prompt_keys, work.cached.prompt_keys),
        (10.0, 21.0)
    );
    assert_eq!(
        RowWork::of(&decode(99, None), windowed(0))
            .output
            .decode_keys,
        8.0
    );
}

#[test]
fn each_scored_token_of_a_prompt_needs_its_logits() {
    let scored = BatchRow {
        prompt_logprobs: Some(0),
        ..prompt(0, 4, None)
    };
    let work = RowWork::of(&scored, cached(0));
    assert_eq!((work.input.logits, work.output.logits), (3.0, 1.0));
    let chunk = BatchRow {
        next_prompt_token: Some(7),
        sample: None,
        ..scored
    };
    let work = RowWork::of(&chunk, cached(0));
    assert_eq!((work.input.logits, work.output.logits), (4.0, 0.0));
}

#[test]
fn shares_are_what_the_model_expects_scaled_to_what_was_measured() {
    let meter = meter(DEVICE);
    let rows = works(&meter, &[prompt(0, 19, None), decode(999, None)]);
    // By hand: 20 tokens take 5e-3 + 16 * 1e-4 + 4 * 5e-4 = 8.6e-3.
    let per_token = 8.6e-3 / 20.0;
    let expected = [
        TokenSeconds {
            input: 19.0 * per_token + 190.0 * 1e-6,
            cached: 0.0,
            output: 3e-4,
        },
        TokenSeconds {
            input: 0.0,
            cached: 0.0,
            output: per_token + 3e-4 + 1000.0 * 2e-6,
        },
    ];
    let total: f64 = expected.iter().map(TokenSeconds::total).sum();
    assert!(near(DEVICE.expect(&rows), total));
    let shares = meter.split(&rows, 0.5).shares;
    for (share, expected) in shares.iter().zip(expected) {
        assert!(near(share.input, 0.5 * expected.input / total));
        assert!(near(share.output, 0.5 * expected.output / total));
    }
    assert!(near(shares.iter().map(TokenSeconds::total).sum(), 0.5));
}

/// Three rows that differ only in their adapter, on a device with known times: an adapter's rows
/// pay for its additional time, and no others do.
#[test]
fn an_adapter_pays_its_own_extra_time() {
    let meter = meter(DEVICE);
    let rows = [
        decode(64, None),
        decode(64, Some(LEGAL)),
        decode(64, Some(LEGAL)),
        decode(64, Some(MEDICAL)),
    ];
    let rows = works(&meter, &rows);
    let seconds = DEVICE.expect(&rows);
    let [base, legal, also_legal, medical] = meter.split(&rows, seconds).shares[..] else {
        panic!("one share a row");
    };
    let own = 1e-11 * ADAPTER_BYTES as f64;
    assert!(near(legal.total() - base.total(), own + 1e-3 / 2.0));
    assert!(near(also_legal.total(), legal.total()));
    assert!(near(medical.total() - base.total(), own + 1e-3));
    let without = works(&meter, &[0; 4].map(|_| decode(64, None)));
    assert!(near(base.total(), DEVICE.expect(&without) / 4.0));
}

#[test]
fn nothing_is_lost_where_the_model_knows_nothing() {
    let blind = StepModel {
        fit: DEVICE.fit,
        ..StepModel::default()
    };
    let meter = meter(blind);
    let rows = works(&meter, &[prompt(0, 3, None), decode(5, None)]);
    let shares = meter.split(&rows, 1.0).shares;
    assert_eq!(shares[0].total(), 0.75);
    assert_eq!(shares[1].total(), 0.25);
}

/// The fit finds the device's coefficients, and so predicts steps that it has not seen.
#[test]
fn calibration_finds_how_long_steps_take() {
    let meter = meter(DEVICE);
    let time = |batch: &Batch| Ok::<_, Infallible>(DEVICE.expect(&works(&meter, &batch.rows)));
    let Ok(Calibrated {
        step_model: found, ..
    }) = calibration().run(time);
    assert!(found.fit.r_squared > 1.0 - 1e-9, "{found:?}");
    assert!(found.fit.residual_p95 < 1e-6, "{found:?}");
    let unseen = [
        vec![prompt(0, 300, None), prompt(700, 77, Some(LEGAL))],
        (0..48).map(|i| decode(30 * i + 1, None)).collect(),
        vec![decode(1900, Some(MEDICAL)), prompt(1000, 500, None)],
    ];
    for rows in unseen {
        let rows = works(&meter, &rows);
        let (found, truth) = (found.expect(&rows), DEVICE.expect(&rows));
        assert!(
            (found - truth).abs() < 1e-3 * truth,
            "{found} is not {truth}"
        );
    }
}

/// As if the kernels for several rows were compiled without the processor's instructions.
#[test]
fn a_step_of_several_tokens_that_is_far_too_slow_is_told() {
    let slow_in_batches = |factor: f64| {
        let meter = meter(DEVICE);
        let time = |batch: &Batch| {
            let rows = works(&meter, &batch.rows);
            let is_several = rows.iter().map(|row| row.total().tokens).sum::<f64>() > 1.0;
            let factor = if is_several { factor } else { 1.0 };
            Ok::<_, Infallible>(factor * DEVICE.expect(&rows))
        };
        let Ok(Calibrated { slow_step, .. }) = calibration().run(time);
        slow_step
    };
    assert_eq!(slow_in_batches(1.0), None);
    let Some(SlowStep { tokens, ratio }) = slow_in_batches(30.0) else {
        panic!("a step that takes thirty times too long is not slow");
    };
    assert!(tokens >= 2 && ratio > 10.0, "{tokens} tokens, {ratio}");
}

/// The cost of larger steps continues with the slope of the last timed ones.
#[test]
fn a_slow_device_is_timed_with_small_steps_only() {
    let slow = StepModel {
        fixed_seconds: 1.0,
        seconds_per_token: [0.1; 3],
        ..DEVICE
    };
    let meter = meter(slow);
    let mut largest = 0;
    let time = |batch: &Batch| {
        let tokens = batch.rows.iter().map(|row| row.tokens.len()).sum();
        largest = largest.max(tokens);
        Ok::<_, Infallible>(slow.expect(&works(&meter, &batch.rows)))
    };
    let Ok(Calibrated {
        step_model: found, ..
    }) = calibration().run(time);
    assert!(largest <= 16, "{largest} tokens");
    let rows = works(&meter, &[prompt(0, 1000, None)]);
    let (found, truth) = (found.expect(&rows), slow.expect(&rows));
    assert!(
        (found - truth).abs() < 1e-2 * truth,
        "{found} is not {truth}"
    );
}

/// On a device whose times are unrelated to the work, the model is rejected and the split goes by
/// tokens.
#[test]
fn what_cannot_be_explained_is_split_by_tokens() {
    let mut state = 1u64;
    let time = |_: &Batch| {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1);
        Ok::<_, Infallible>(1e-3 + (state >> 40) as f64 * 1e-9)
    };
    let Ok(Calibrated {
        step_model: found, ..
    }) = calibration().run(time);
    assert!(found.fit.r_squared < 0.9, "{found:?}");
    let meter = meter(found);
    assert_eq!(meter.basis(), SplitBasis::Tokens);
    let rows = works(&meter, &[prompt(0, 9, None), decode(2000, Some(LEGAL))]);
    let shares = meter.split(&rows, 1.0).shares;
    assert!(near(shares[0].input, 0.9) && near(shares[1].output, 0.1));
}

/// `1 − (1 − R²)(n − 1)/(n − p)`, with R² as the explained fraction of the variance.
#[test]
fn r_squared_is_adjusted_for_the_coefficients() {
    let meter = meter(DEVICE);
    let mut timed: Vec<(Vec<RowWork>, f64)> = Vec::new();
    let time = |batch: &Batch| {
        let rows = works(&meter, &batch.rows);
        // A fifth too long or too short in every second step, each time by the same amount.
        let known = timed.iter().position(|(known, _)| *known == rows);
        let index = known.unwrap_or(timed.len());
        let seconds = DEVICE.expect(&rows) * if index % 2 == 0 { 1.0 } else { 1.2 };
        if known.is_none() {
            timed.push((rows, seconds));
        }
        Ok::<_, Infallible>(seconds)
    };
    let Ok(Calibrated {
        step_model: found, ..
    }) = calibration().run(time);
    let (n, p) = (timed.len() as f64, found.fit.coefficients as f64);
    assert_eq!((found.fit.steps, found.fit.coefficients), (timed.len(), 8));
    let mean = timed.iter().map(|(_, seconds)| seconds).sum::<f64>() / n;
    let squares = |of: &dyn Fn(&[RowWork], f64) -> f64| -> f64 {
        timed
            .iter()
            .map(|(rows, seconds)| of(rows, *seconds).powi(2))
            .sum()
    };
    let unexplained = squares(&|rows, seconds| seconds - found.expect(rows));
    let r_squared = 1.0 - unexplained / squares(&|_, seconds| seconds - mean);
    let adjusted = 1.0 - (1.0 - r_squared) * (n - 1.0) / (n - p);
    assert!(adjusted < r_squared);
    assert!(near(found.fit.r_squared, adjusted), "{found:?}");
}

/// With no more steps than coefficients any times are explained, which proves nothing.
#[test]
fn as_many_coefficients_as_steps_explain_nothing() {
    let meter = meter(DEVICE);
    let few = Calibration {
        max_num_seqs: 1,
        max_model_len: 16,
        adapters: Vec::new(),
        ..calibration()
    };
    let time = |batch: &Batch| Ok::<_, Infallible>(DEVICE.expect(&works(&meter, &batch.rows)));
    let Ok(Calibrated {
        step_model: found, ..
    }) = few.run(time);
    assert!(found.fit.steps <= found.fit.coefficients, "{found:?}");
    assert_eq!(found.fit.r_squared, 0.0);
    assert!(!found.fit.is_good());
}

#[test]
fn a_model_is_kept_only_while_it_holds() {
    let meter = meter(DEVICE);
    let time = |factor: f64| {
        let meter = &meter;
        move |batch: &Batch| Ok::<_, Infallible>(factor * DEVICE.expect(&works(meter, &batch.rows)))
    };
    for (factor, holds) in [(1.0, true), (1.2, true), (2.0, false), (0.5, false)] {
        assert_eq!(calibration().still_holds(&DEVICE, time(factor)), Ok(holds));
    }
}

/// Counts how often steps are timed on a machine that multiplies their times by `noise`.
fn calibrate_with(mut noise: impl FnMut() -> f64) -> (StepModel, usize) {
    let meter = meter(DEVICE);
    let mut timed = 0;
    let time = |batch: &Batch| {
        timed += 1;
        Ok::<_, Infallible>(noise() * DEVICE.expect(&works(&meter, &batch.rows)))
    };
    let Ok(Calibrated {
        step_model: found, ..
    }) = calibration().run(time);
    (found, timed)
}

/// Every second step takes up to four times as long. Steps are then timed more often than on a
/// quiet machine, and the medians have the right ratios.
#[test]
fn a_busy_machine_is_timed_more_often() {
    let (_, timed_when_quiet) = calibrate_with(|| 1.0);
    let mut state = 1u64;
    let mut share = || {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1);
        (state >> 40) as f64 / (1u64 << 24) as f64
    };
    let (found, timed) = calibrate_with(|| {
        if share() < 0.5 {
            1.0 + 3.0 * share()
        } else {
            1.0 + 0.2 * share()
        }
    });
    assert!(timed > timed_when_quiet, "{timed} {timed_when_quiet}");
    let meter = meter(DEVICE);
    let [prompt, decodes] = [
        vec![prompt(0, 200, None)],
        (0..20).map(|_| decode(500, None)).collect(),
    ]
    .map(|rows| {
        let rows = works(&meter, &rows);
        found.expect(&rows) / DEVICE.expect(&rows)
    });
    assert!((prompt / decodes - 1.0).abs() < 0.25, "{prompt} {decodes}");
}

/// The first time of every step is too long. No ladder ends because of that.
#[test]
fn one_slow_time_does_not_end_a_ladder() {
    let meter = meter(DEVICE);
    let mut seen: Vec<Vec<RowWork>> = Vec::new();
    let time = |batch: &Batch| {
        let rows = works(&meter, &batch.rows);
        let seconds = DEVICE.expect(&rows);
        if seen.contains(&rows) {
            return Ok::<_, Infallible>(seconds);
        }
        seen.push(rows);
        Ok(seconds + 0.15)
    };
    let Ok(Calibrated {
        step_model: found, ..
    }) = calibration().run(time);
    let (undisturbed, _) = calibrate_with(|| 1.0);
    assert_eq!(found.fit.steps, undisturbed.fit.steps);
    assert!(found.fit.is_good(), "{found:?}");
}
