//! Student's t for any number of degrees of freedom.

use farthing_economics::statistics::normal_quantile;
use statrs::distribution::{ContinuousCDF, StudentsT};
use statrs::function::erf::erfc;

use crate::error::{ExperimentError, finite};

/// Student's t. For many degrees of freedom, statrs loses digits (1e-5 of the quantile at 100,000),
/// so there the expansions around the normal distribution are used.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Student {
    /// Above 0; infinite for the normal distribution.
    pub(crate) freedom: f64,
}

/// From here on, the quantile's expansion has more correct digits.
const LEAST_EXPANDED_QUANTILE: f64 = 300.0;
/// From here on, the normal distribution of a transformed distance has more correct digits.
const LEAST_NORMAL: f64 = 1e6;

impl Student {
    /// What is exceeded with probability `tail`, which is below 0.5.
    pub(crate) fn upper_quantile(self, tail: f64) -> Result<f64, ExperimentError> {
        let quantile = if self.freedom < LEAST_EXPANDED_QUANTILE {
            self.exact()?.inverse_cdf(tail)
        } else {
            self.expanded_quantile(normal_quantile(tail))
        };
        finite(-quantile)
    }

    /// The chance of a value that is at least `distance` from zero.
    pub(crate) fn two_sided_p(self, distance: f64) -> Result<f64, ExperimentError> {
        let distance = distance.abs();
        if self.freedom < LEAST_NORMAL {
            return finite(2.0 * self.exact()?.cdf(-distance));
        }
        // Abramowitz and Stegun, 26.7.8.
        let scale = (1.0 + distance * distance / (2.0 * self.freedom)).sqrt();
        let normal = distance * (1.0 - 0.25 / self.freedom) / scale;
        finite(erfc(normal / std::f64::consts::SQRT_2))
    }

    /// The expansion of Cornish and Fisher: Abramowitz and Stegun, 26.7.5.
    fn expanded_quantile(self, z: f64) -> f64 {
        let s = z * z;
        let terms = [
            (s + 1.0) / 4.0,
            ((5.0 * s + 16.0) * s + 3.0) / 96.0,
            (((3.0 * s + 19.0) * s + 17.0) * s - 15.0) / 384.0,
            ((((79.0 * s + 776.0) * s + 1482.0) * s - 1920.0) * s - 945.0) / 92160.0,
        ];
        let sum = terms
            .into_iter()
            .rev()
            .fold(0.0, |sum, term| (sum + term) / self.freedom);
        z + z * sum
    }

    fn exact(self) -> Result<StudentsT, ExperimentError> {
        StudentsT::new(0.0, 1.0, self.freedom).map_err(|_| ExperimentError::NotFinite)
    }
}
