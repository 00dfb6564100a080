//! Whether the arms got the units that their weights promise.

use statrs::distribution::{ChiSquared, ContinuousCDF};

use crate::error::{ExperimentError, finite, not_negative};

/// Pearson's chi-square test of the number of units in each arm against the weights.
///
/// If it fails, units were lost or counted twice in one arm, and no figure of the experiment can be
/// trusted (Fabijan et al., "Diagnosing Sample Ratio Mismatch", KDD 2019).
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct SampleRatio {
    /// The statistic.
    pub chi_square: f64,
    /// The chance of counts that are at least as far from the weights.
    pub p_value: f64,
}

impl SampleRatio {
    /// A p-value below this blocks a verdict.
    pub const LEAST_P: f64 = 0.001;

    /// Compares the units of each arm with its weight. Weights need not add up to 1.
    ///
    /// # Errors
    /// Fewer than two arms have a weight, a weight is negative or not finite, an arm without weight
    /// has units, or the lists have different lengths. There are no units at all.
    pub fn check(units: &[u64], weights: &[f64]) -> Result<Self, ExperimentError> {
        if units.len() != weights.len() {
            return Err(ExperimentError::Parameter {
                name: "the number of weights",
                range: "that of the arms",
            });
        }
        for weight in weights {
            not_negative("a weight", *weight)?;
        }
        let arms = weights.iter().filter(|weight| **weight > 0.0).count();
        if arms < 2 {
            return Err(ExperimentError::OneArm);
        }
        let pairs = || units.iter().map(|count| *count as f64).zip(weights);
        if pairs().any(|(count, weight)| count > 0.0 && *weight == 0.0) {
            return Err(ExperimentError::Parameter {
                name: "the weight of an arm with units",
                range: "above 0",
            });
        }
        let all: f64 = pairs().map(|(count, _)| count).sum();
        if all == 0.0 {
            return Err(ExperimentError::EmptyArm);
        }
        let whole = finite(weights.iter().sum())?;
        let chi_square = pairs()
            .filter(|(_, weight)| **weight > 0.0)
            .map(|(count, weight)| {
                let expected = all * (weight / whole);
                (count - expected).powi(2) / expected
            })
            .sum();
        let chi_square = finite(chi_square)?;
        let distribution =
            ChiSquared::new(arms as f64 - 1.0).map_err(|_| ExperimentError::NotFinite)?;
        Ok(Self {
            chi_square,
            p_value: finite(distribution.sf(chi_square))?,
        })
    }

    /// Whether the counts fit the weights.
    pub fn passes(&self) -> bool {
        self.p_value >= Self::LEAST_P
    }
}
