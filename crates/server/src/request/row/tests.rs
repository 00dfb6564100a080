#![allow(clippy::unwrap_used)]

use super::percentile;

/// Expected values by `numpy.percentile`.
#[test]
fn percentiles_are_numpys() {
    let close = |found: Option<f64>, expected: f64| {
        let found = found.unwrap();
        assert!((found - expected).abs() < 1e-7, "{found} {expected}");
    };
    let values = [0.01, 0.02, 0.04, 0.08, 0.16];
    close(percentile(&values, 0.50), 0.04);
    close(percentile(&values, 0.95), 0.144);
    close(percentile(&values[..2], 0.50), 0.015);
    close(percentile(&values[..1], 0.95), 0.01);
    assert_eq!(percentile(&[], 0.5), None);
}
