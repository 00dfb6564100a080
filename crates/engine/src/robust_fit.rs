//! Fits coefficients to timed steps, some of which took far longer than they should have.

use crate::{
    least_squares::{Prior, non_negative_least_squares},
    step_features::{FEATURES, StepFeatures},
};

/// A step, and how long it took.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct TimedStep {
    pub features: StepFeatures,
    pub seconds: f64,
}

/// How often the weights are set anew; they hardly change after that.
const ROUNDS: usize = 4;
/// A residual beyond so many standard deviations counts less, the more so the farther it is off.
const OUTLIER: f64 = 2.5;
/// What is off by less than this share is none.
const LEAST_OUTLIER: f64 = 0.01;
/// What the median of absolute deviations is multiplied with to be a standard deviation.
const MAD_TO_DEVIATION: f64 = 1.4826;

/// Coefficients, none negative, that explain the seconds of the steps.
///
/// Residuals are relative to what is expected of a step, so that short steps count as much as long
/// ones and a slow one is not believed less than a fast one: on a busy machine the times of like
/// steps are skewed, and what is added to all kinds of steps alike should be found in all
/// coefficients alike. Outliers are weighted as Huber does ("Robust Estimation of a Location
/// Parameter", 1964).
pub(crate) fn fit_robustly(steps: &[TimedStep], prior: Option<Prior<FEATURES>>) -> [f64; FEATURES] {
    let mut weights: Vec<f64> = steps.iter().map(|step| 1.0 / step.seconds).collect();
    let mut coefficients = weighted(steps, &weights, prior);
    for _ in 0..ROUNDS {
        let expected = |step: &TimedStep| {
            let expected = step.features.dot(&coefficients);
            // An expectation of almost nothing must not outweigh all other steps.
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

/// The one in the middle; zero of none.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.get(middle) {
        None => 0.0,
        Some(value) if values.len() % 2 == 1 => *value,
        Some(value) => (values[middle - 1] + value) / 2.0,
    }
}
