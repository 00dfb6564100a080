//! Properties of R².

use super::Fit;

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
