//! Properties of R², and of the knee of the token curve.

use super::{Fit, StepModel};

/// 1 − Σ(m − e)² / Σ(m − mean)², computed by hand: 1 − 0.02/2 for the seconds, and less for their
/// logarithms.
#[test]
fn long_steps_alone_do_not_carry_r_squared() {
    let measured = [1.0, 2.0, 3.0];
    let expected = [1.1, 2.0, 2.9];
    let fit = Fit::of_served(&measured, &expected);
    let by_logs = {
        let logs = measured.map(f64::ln);
        let mean = logs.iter().sum::<f64>() / 3.0;
        let off = 1.1f64.ln().powi(2) + (2.9f64 / 3.0).ln().powi(2);
        1.0 - off / logs.iter().map(|log| (log - mean).powi(2)).sum::<f64>()
    };
    assert!(by_logs < 0.99);
    assert!((fit.r_squared - by_logs).abs() < 1e-12, "{fit:?}");

    // Two long steps are predicted exactly, and many short ones not at all.
    let mut measured = vec![1.0, 2.0];
    let mut expected = measured.clone();
    for i in 0..50 {
        measured.push([0.01, 0.02][i % 2]);
        expected.push([0.02, 0.01][i % 2]);
    }
    let fit = Fit::of_served(&measured, &expected);
    assert!(!fit.is_good(), "{fit:?}");
}

#[test]
fn the_fixed_part_takes_as_long_as_these_tokens() {
    let model = |fixed_seconds, seconds_per_token, r_squared| StepModel {
        fixed_seconds,
        seconds_per_token,
        seconds_per_logits: 1.0,
        fit: Fit {
            r_squared,
            ..Fit::default()
        },
        ..StepModel::default()
    };
    // 2 seconds per token: within the first 16. Then 16 for 32 seconds, and 8 at 1.5 each.
    assert_eq!(model(10.0, [1.0; 3], 0.95).fixed_tokens(), Some(5));
    assert_eq!(model(44.0, [1.0, 0.5, 1.0], 0.95).fixed_tokens(), Some(24));
    // Tokens that cost nothing may accompany any step.
    let free = StepModel {
        seconds_per_logits: 0.0,
        ..model(1.0, [0.0; 3], 0.95)
    };
    assert_eq!(free.fixed_tokens(), Some(usize::MAX));
    assert_eq!(model(10.0, [1.0; 3], 0.5).fixed_tokens(), None);
}
