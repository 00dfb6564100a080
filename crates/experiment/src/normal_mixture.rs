//! The boundary behind always-valid intervals: Robbins' normal mixture.
//!
//! The formulas are those of Howard, Ramdas, McAuliffe and Sekhon, "Time-uniform, nonparametric,
//! nonasymptotic confidence sequences" (2021), as in the Python package `confseq`. Asymptotic
//! confidence sequences put estimated variances into them (Waudby-Smith, Arbour, Sinha, Kennedy and
//! Ramdas, "Time-uniform central limit theory and asymptotic confidence sequences", 2024).

use statrs::function::erf::erfc;

use crate::error::{ExperimentError, finite, open_probability, positive};

/// A boundary that a standard random walk crosses at any time with probability `alpha` at most.
///
/// Time is the number of observations, each of variance 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct NormalMixture {
    /// The reciprocal of the mixing variance, in observations.
    rho: f64,
}

/// Bisections of the one-sided boundary: 2⁻⁶⁴ of its bracket.
const BISECTIONS: u32 = 64;

impl NormalMixture {
    /// The two-sided boundary that is nearly the lowest possible after `tuned_to` observations.
    ///
    /// # Errors
    /// A parameter is out of range.
    pub fn two_sided(tuned_to: f64, alpha: f64) -> Result<Self, ExperimentError> {
        positive("the sample size that an interval is tuned to", tuned_to)?;
        let log = -2.0 * open_probability("alpha", alpha)?.ln();
        Ok(Self {
            rho: tuned_to / (log + log.ln_1p()),
        })
    }

    /// The same for the one-sided boundary.
    ///
    /// # Errors
    /// A parameter is out of range. `alpha` must be below 0.5.
    pub fn one_sided(tuned_to: f64, alpha: f64) -> Result<Self, ExperimentError> {
        Self::two_sided(tuned_to, 2.0 * alpha)
    }

    /// The absolute value of the walk stays below this.
    pub fn two_sided_bound(self, time: f64, alpha: f64) -> f64 {
        let all = time + self.rho;
        (all * ((time / self.rho).ln_1p() - 2.0 * alpha.ln())).sqrt()
    }

    /// The walk stays below this.
    ///
    /// # Errors
    /// The result is not finite.
    pub fn one_sided_bound(self, time: f64, alpha: f64) -> Result<f64, ExperimentError> {
        // Its evidence is the two-sided one's times 2Φ, which is at least 1 above zero. So it is
        // above the level at the two-sided boundary, and below it at zero.
        let (mut low, mut high) = (0.0, finite(self.two_sided_bound(time, alpha))?);
        for _ in 0..BISECTIONS {
            let middle = f64::midpoint(low, high);
            if self.log_one_sided_evidence(time, middle) < -alpha.ln() {
                low = middle;
            } else {
                high = middle;
            }
        }
        Ok(high)
    }

    /// The logarithm of the two-sided evidence (an e-value) against a walk without drift that is at
    /// `position` at `time`.
    pub fn log_evidence(self, time: f64, position: f64) -> f64 {
        let all = time + self.rho;
        0.5 * (self.rho / all).ln() + position * position / (2.0 * all)
    }

    fn log_one_sided_evidence(self, time: f64, position: f64) -> f64 {
        let below = 0.5 * erfc(-position / (time + self.rho).sqrt() / std::f64::consts::SQRT_2);
        std::f64::consts::LN_2 + self.log_evidence(time, position) + below.ln()
    }
}
