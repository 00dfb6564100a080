//! The sums hold for any model, and across changes of the model.

use std::time::Instant;

use farthing_scheduler::{AdapterId, BatchRow, SequenceId};
use proptest::prelude::*;

use super::{Meter, SplitBasis, StepTaken};
use crate::{Fit, RowWork, StepFeatures, StepModel, TokenSeconds};

fn near(a: f64, b: f64) -> bool {
    (a - b).abs() <= 1e-9 * a.abs().max(b.abs())
}

/// Coefficients of any kind, including zeros, with a good or a bad fit.
fn models() -> impl Strategy<Value = StepModel> {
    let coefficient = prop_oneof![Just(0.0), 1e-9..1e-2];
    let reach = prop_oneof![Just(StepFeatures::UNLIMITED), Just(StepFeatures([1.0; 9]))];
    (prop::array::uniform9(coefficient), 0.5..1.0, reach).prop_map(
        |(coefficients, r_squared, reach)| StepModel {
            fit: Fit {
                r_squared,
                reach,
                ..Fit::default()
            },
            ..StepModel::from_coefficients(coefficients)
        },
    )
}

/// Cached tokens, new tokens, and the adapter.
fn rows() -> impl Strategy<Value = Vec<(usize, usize, Option<u8>)>> {
    prop::collection::vec((0usize..500, 1usize..60, prop::option::of(0u8..3)), 1..9)
}

fn row(start: usize, new_tokens: usize, adapter: Option<u8>) -> BatchRow {
    BatchRow {
        sequence: SequenceId(0),
        tokens: vec![0; new_tokens],
        start,
        prompt_tokens: if new_tokens == 1 { 0 } else { new_tokens },
        block_table: Vec::new(),
        adapter: adapter.map(|id| AdapterId([id; 32])),
        sample: None,
        prompt_logprobs: None,
        next_prompt_token: None,
    }
}

proptest! {
    #[test]
    fn a_new_model_changes_no_sum(steps in prop::collection::vec((rows(), models(), any::<bool>()), 1..30)) {
        let mut meter = Meter::new(StepModel::default(), None, Instant::now());
        (0..3).for_each(|id| meter.add_adapter(AdapterId([id; 32]), 1 << 20));
        let (mut charged, mut by_tokens) = (0.0, 0.0);
        let mut before = (0.0, 0.0, 0.0);
        for (rows, model, succeeded) in steps {
            meter.model = model;
            let rows: Vec<RowWork> = rows
                .into_iter()
                .map(|(start, new, adapter)| meter.work(&row(start, new, adapter), 0))
                .collect();
            let step_seconds = meter.seconds().steps;
            let split = meter.charge_step(StepTaken {
                rows: &rows,
                measured_seconds: None,
                succeeded,
            });
            let step_seconds = meter.seconds().steps - step_seconds;
            let sum: f64 = split.shares.iter().map(TokenSeconds::total).sum();
            prop_assert_eq!(split.shares.len(), rows.len());
            prop_assert!((sum - step_seconds).abs() <= 1e-9 * meter.seconds().steps);
            charged += sum;
            if split.basis == SplitBasis::Tokens {
                by_tokens += sum;
            } else {
                prop_assert!(model.is_good_for(&StepFeatures::of(&rows)));
            }
            // The values of /metrics never decrease.
            let now = (
                meter.seconds().steps,
                meter.expected_seconds(),
                meter.seconds_by_tokens(),
            );
            prop_assert!(now.0 >= before.0 && now.1 >= before.1 && now.2 >= before.2);
            before = now;
        }
        prop_assert!(near(charged, meter.seconds().steps));
        prop_assert!(near(by_tokens, meter.seconds_by_tokens()));
    }

    /// The prediction for a step is the sum of the predictions for its rows.
    #[test]
    fn a_step_is_the_sum_of_its_rows(rows in rows(), model in models()) {
        let mut meter = Meter::new(model, None, Instant::now());
        (0..3).for_each(|id| meter.add_adapter(AdapterId([id; 32]), 1 << 20));
        let rows: Vec<RowWork> = rows
            .into_iter()
            .map(|(start, new, adapter)| meter.work(&row(start, new, adapter), 0))
            .collect();
        let by_features = model.expect_features(&StepFeatures::of(&rows));
        prop_assert!(near(by_features, model.expect(&rows)));
    }
}
