//! Fits coefficients to timed steps, some of which are outliers.

use crate::{
    least_squares::{Prior, non_negative_least_squares},
    step_features::{FEATURES, StepFeatures},
};

/// A step and the seconds that it took.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct TimedStep {
    pub features: StepFeatures,
    pub seconds: f64,
}

/// Iterations of reweighting. After these the weights hardly change.
const ROUNDS: usize = 4;
/// Residuals beyond this many standard deviations get less weight.
const OUTLIER: f64 = 2.5;
/// Relative residuals below this are never outliers.
const LEAST_OUTLIER: f64 = 0.01;
/// Factor from the median absolute deviation to the standard deviation.
const MAD_TO_DEVIATION: f64 = 1.4826;

/// Non-negative coefficients that explain the seconds of the steps.
///
/// Residuals are relative to the predicted time, so that short steps count as much as long ones,
/// and slow steps as much as fast ones. On a busy machine the times are skewed, and that should
/// affect all coefficients alike. Outliers get Huber's weights ("Robust Estimation of a Location
/// Parameter", 1964).
pub(crate) fn fit_robustly(steps: &[TimedStep], prior: Option<Prior<FEATURES>>) -> [f64; FEATURES] {
    let mut weights: Vec<f64> = steps.iter().map(|step| 1.0 / step.seconds).collect();
    let mut coefficients = weighted(steps, &weights, prior);
    for _ in 0..ROUNDS {
        let expected = |step: &TimedStep| {
            let expected = step.features.dot(&coefficients);
            // A prediction near zero must not outweigh all other steps.
            expected.max(step.seconds / 10.0)
        };
        let residual = |step: &TimedStep| step.seconds / expected(step) - 1.0;
        let sizes: Vec<f64> = steps.iter().map(|step| residual(step).abs()).collect();
        let limit = (OUTLIER * MAD_TO_DEVIATION * median(sizes.clone())).max(LEAST_OUTLIER);
        for ((weight, step), size) in weights.iter_mut().zip(steps).zip(sizes) {
            let trust = if size > limit { limit / size } else { 1.0 };
            *weight = trust.sqrt() / expected(step);
        }
        coefficients = weighted(steps, &weights, prior);
    }
    coefficients
}

fn weighted(
    steps: &[TimedStep],
    weights: &[f64],
    prior: Option<Prior<FEATURES>>,
) -> [f64; FEATURES] {
    let rows: Vec<_> = steps
        .iter()
        .zip(weights)
        .map(|(step, weight)| {
            let row = step.features.0.map(|amount| amount * weight);
            (row, step.seconds * weight)
        })
        .collect();
    non_negative_least_squares(&rows, prior)
}

/// The median; zero for no values.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.get(middle) {
        None => 0.0,
        Some(value) if values.len() % 2 == 1 => *value,
        Some(value) => (values[middle - 1] + value) / 2.0,
    }
}
