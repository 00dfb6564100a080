//! How often a figure is looked at, and what that costs in width.

use crate::error::{ExperimentError, finite, open_probability};
use crate::normal_mixture::NormalMixture;
use crate::sample_size::SampleSize;
use crate::student::Student;

/// When the intervals of an experiment hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Inference {
    /// At all times at once: look as often as you like, and stop when you like.
    AlwaysValid {
        /// The units of all arms together at which the intervals are narrowest, which is about
        /// the sample size that the plan expects. It is chosen before the start.
        tuned_to: u64,
    },
    /// At one look only, when each arm has the number of units that was registered before the
    /// start. With 20 looks, a quarter of all experiments without a difference would show one.
    FixedHorizon {
        /// The registered number.
        units_per_arm: u64,
    },
}

/// Which errors an interval excludes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sides {
    /// A bound on one side, which is wrong with probability `1 - confidence`.
    One,
    /// Both bounds together are wrong with probability `1 - confidence`.
    Two,
}

impl Inference {
    /// Always-valid intervals are asymptotic: an arm with fewer units has none.
    pub const LEAST_UNITS: u64 = 30;

    /// Whether the sample that was planned is there: the horizon, or the size that the intervals
    /// are tuned to.
    pub const fn is_planned_size(self, size: SampleSize) -> bool {
        match self {
            Self::AlwaysValid { tuned_to } => size.units >= tuned_to,
            Self::FixedHorizon { units_per_arm } => size.least_units >= units_per_arm,
        }
    }

    /// Whether a verdict may be based on a look at this size.
    pub const fn allows_verdict(self, size: SampleSize) -> bool {
        match self {
            Self::AlwaysValid { .. } => size.least_units >= Self::LEAST_UNITS,
            Self::FixedHorizon { .. } => self.is_planned_size(size),
        }
    }

    /// The interval's half-width in standard errors.
    ///
    /// # Errors
    /// There are too few units, or a parameter is out of range.
    pub fn multiplier(
        self,
        size: SampleSize,
        confidence: f64,
        sides: Sides,
    ) -> Result<f64, ExperimentError> {
        let alpha = 1.0 - open_probability("the confidence", confidence)?;
        match self {
            Self::AlwaysValid { tuned_to } => {
                check_units(size)?;
                let (time, tuned_to) = (size.units as f64, tuned_to as f64);
                let bound = match sides {
                    Sides::Two => {
                        NormalMixture::two_sided(tuned_to, alpha)?.two_sided_bound(time, alpha)
                    }
                    Sides::One => {
                        NormalMixture::one_sided(tuned_to, alpha)?.one_sided_bound(time, alpha)?
                    }
                };
                finite(bound / time.sqrt())
            }
            Self::FixedHorizon { .. } => {
                let tail = match sides {
                    Sides::Two => alpha / 2.0,
                    Sides::One => alpha,
                };
                student(size).upper_quantile(tail)
            }
        }
    }

    /// The two-sided p-value of a figure that is `distance` standard errors from its null value.
    pub(crate) fn p_value(self, size: SampleSize, distance: f64) -> Result<f64, ExperimentError> {
        match self {
            Self::AlwaysValid { tuned_to } => {
                check_units(size)?;
                // A p-value for all levels at once needs one boundary, so it is tuned to 5 %.
                let mixture = NormalMixture::two_sided(tuned_to as f64, 0.05)?;
                let time = size.units as f64;
                let evidence = mixture.log_evidence(time, distance * time.sqrt());
                Ok((-evidence).exp().min(1.0))
            }
            Self::FixedHorizon { .. } => student(size).two_sided_p(distance),
        }
    }
}

fn check_units(size: SampleSize) -> Result<(), ExperimentError> {
    let (units, least) = (size.least_units, Inference::LEAST_UNITS);
    if units < least {
        return Err(ExperimentError::TooFewUnits { units, least });
    }
    Ok(())
}

fn student(size: SampleSize) -> Student {
    Student {
        freedom: size.degrees_of_freedom,
    }
}
