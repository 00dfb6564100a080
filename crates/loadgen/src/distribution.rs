//! Many measurements of the same thing, in a few figures.

use farthing_economics::statistics::quantile;

/// Milliseconds, as vLLM's bench tells them.
#[derive(Clone, Debug, PartialEq)]
pub struct Distribution {
    /// The arithmetic mean.
    pub mean_ms: f64,
    /// The 50th percentile.
    pub median_ms: f64,
    /// Of all there are, not of a sample.
    pub std_ms: f64,
    /// In the order in which they were asked for, each with its figure; interpolated linearly, as
    /// numpy does.
    pub percentiles_ms: Vec<(f64, f64)>,
    /// All of them, sorted.
    pub sorted_ms: Vec<f64>,
}

impl Distribution {
    /// None where there are none.
    pub fn of_seconds(seconds: impl IntoIterator<Item = f64>, percentiles: &[f64]) -> Option<Self> {
        let mut sorted: Vec<f64> = seconds
            .into_iter()
            .map(|seconds| seconds * 1000.0)
            .collect();
        if sorted.is_empty() {
            return None;
        }
        sorted.sort_by(f64::total_cmp);
        let count = sorted.len() as f64;
        let mean = sorted.iter().sum::<f64>() / count;
        let squares: f64 = sorted.iter().map(|value| (value - mean).powi(2)).sum();
        Some(Self {
            mean_ms: mean,
            median_ms: quantile(&sorted, 0.5),
            std_ms: (squares / count).sqrt(),
            percentiles_ms: percentiles
                .iter()
                .map(|percentile| (*percentile, quantile(&sorted, percentile / 100.0)))
                .collect(),
            sorted_ms: sorted,
        })
    }
}
