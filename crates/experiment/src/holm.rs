//! Several metrics, one chance of a false positive.

use crate::error::ExperimentError;

/// Holm's step-down adjustment (1979): if those metrics count whose adjusted p-value is below α, the
/// chance that any of them is a false positive is at most α, however they depend on each other.
///
/// The result has the order of the input.
///
/// # Errors
/// A p-value is not between 0 and 1.
pub fn holm(p_values: &[f64]) -> Result<Vec<f64>, ExperimentError> {
    if !p_values.iter().all(|p| (0.0..=1.0).contains(p)) {
        return Err(ExperimentError::Parameter {
            name: "a p-value",
            range: "from 0 to 1",
        });
    }
    let mut order: Vec<usize> = (0..p_values.len()).collect();
    order.sort_by(|a, b| p_values[*a].total_cmp(&p_values[*b]));
    let mut adjusted = vec![0.0; p_values.len()];
    let mut least: f64 = 0.0;
    for (rank, metric) in order.into_iter().enumerate() {
        let left = (p_values.len() - rank) as f64;
        least = least.max((left * p_values[metric]).min(1.0));
        adjusted[metric] = least;
    }
    Ok(adjusted)
}
