//! Statistics of a set of measurements.

use farthing_economics::statistics::quantile;

/// Statistics in milliseconds, as in vLLM's benchmark.
#[derive(Clone, Debug, PartialEq)]
pub struct Distribution {
    /// The arithmetic mean.
    pub mean_ms: f64,
    /// The 50th percentile.
    pub median_ms: f64,
    /// Standard deviation of the population.
    pub std_ms: f64,
    /// The requested percentiles with their values, linearly interpolated as in numpy.
    pub percentiles_ms: Vec<(f64, f64)>,
    /// All values, sorted.
    pub sorted_ms: Vec<f64>,
}

impl Distribution {
    /// `None` if there are no values.
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
