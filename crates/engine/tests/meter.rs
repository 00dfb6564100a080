//! The split of a step's seconds over its rows.
#![allow(clippy::unwrap_used, clippy::panic, unreachable_pub)]

use std::sync::Arc;

use farthing_engine::{Meter, StepFeatures};
use farthing_scheduler::{AdapterId, BatchRow, BlockId, SampleRow, SamplingParams, SequenceId};

fn row(start: usize, new_tokens: usize, adapter: Option<AdapterId>) -> BatchRow {
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

const SECONDS_EACH: StepFeatures = StepFeatures {
    prompt_tokens: 1e-3,
    decode_tokens: 2e-3,
    kv_tokens_read: 1e-6,
    adapter_tokens: 1e-4,
};

#[test]
fn a_row_counts_its_prompt_its_context_and_its_adapter() {
    let adapter = Some(AdapterId([1; 32]));
    let prefill = StepFeatures::of(&row(10, 4, adapter));
    // Four new tokens see 11, 12, 13 and 14 tokens.
    let expected = StepFeatures {
        prompt_tokens: 4.0,
        decode_tokens: 0.0,
        kv_tokens_read: 50.0,
        adapter_tokens: 4.0,
    };
    assert_eq!(prefill, expected);
    let decode = StepFeatures::of(&row(99, 1, None));
    let expected = StepFeatures {
        decode_tokens: 1.0,
        kv_tokens_read: 100.0,
        ..Default::default()
    };
    assert_eq!(decode, expected);
}

#[test]
fn shares_follow_the_work_and_add_up() {
    let rows = [
        row(0, 100, None),
        row(999, 1, None),
        row(0, 100, Some(AdapterId([1; 32]))),
    ];
    let shares = Meter::new(SECONDS_EACH).split(&rows, 0.5);
    // By hand: 0.1 + 5050e-6, 2e-3 + 1000e-6, 0.1 + 5050e-6 + 0.01.
    let weights = [0.105_05, 0.003, 0.115_05];
    let total: f64 = weights.iter().sum();
    for (share, weight) in shares.iter().zip(weights) {
        assert!((share - 0.5 * weight / total).abs() < 1e-12);
    }
    assert!((shares.iter().sum::<f64>() - 0.5).abs() <= 0.5e-9);
}

#[test]
fn nothing_is_lost_where_the_calibration_saw_nothing() {
    let rows = [row(0, 3, None), row(5, 1, None)];
    let shares = Meter::new(StepFeatures::default()).split(&rows, 1.0);
    assert_eq!(shares, [0.5, 0.5]);
}
