//! What keeps an analysis from having an answer.

/// Why there is no figure.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
pub enum ExperimentError {
    /// An arm has no observations.
    #[error("an arm has no observations yet")]
    EmptyArm,
    /// There are fewer than two arms with a share of the traffic.
    #[error("one arm alone can't be compared: an experiment needs at least two")]
    OneArm,
    /// Too few units for the method.
    #[error("{units} units in an arm are too few: at least {least} are needed")]
    TooFewUnits {
        /// Units in the smaller arm.
        units: u64,
        /// The least number for which the method holds.
        least: u64,
    },
    /// Too few values for a quantile.
    #[error("{values} values are too few for this quantile: at least {least} are needed")]
    TooFewValues {
        /// Values in the smaller arm.
        values: u64,
        /// The least number with ten values beyond the quantile.
        least: u64,
    },
    /// All units have the same value, so the error of their mean is unknown.
    #[error("all units have the same value, so the error of the figure is not known")]
    ZeroVariance,
    /// The denominators add up to zero, for example because no answer was accepted.
    #[error("the denominators add up to zero, so there is no ratio")]
    ZeroDenominator,
    /// The baseline is too near zero to express a difference as a part of it.
    #[error("the baseline is too near zero for a relative difference: use the absolute one")]
    ZeroBaseline,
    /// An input or a result is NaN or infinite.
    #[error("a figure is not finite")]
    NotFinite,
    /// A share has a numerator below zero or above its denominator.
    #[error("a share must have a numerator between zero and its denominator")]
    NoShare,
    /// A parameter is out of its range.
    #[error("{name} must be {range}")]
    Parameter {
        /// The parameter.
        name: &'static str,
        /// What it must be.
        range: &'static str,
    },
    /// A judge's sensitivity and specificity add up to at most one.
    #[error("on the labelled sample the judge is no better than chance, so it can't be corrected")]
    UselessJudge,
}

impl ExperimentError {
    /// Whether more observations may bring the figure. The others are errors of the caller.
    pub const fn is_for_now(self) -> bool {
        matches!(
            self,
            Self::EmptyArm
                | Self::TooFewUnits { .. }
                | Self::TooFewValues { .. }
                | Self::ZeroVariance
                | Self::ZeroDenominator
                | Self::ZeroBaseline
        )
    }
}

/// `value` if it is finite.
pub(crate) fn finite(value: f64) -> Result<f64, ExperimentError> {
    value
        .is_finite()
        .then_some(value)
        .ok_or(ExperimentError::NotFinite)
}

/// Checks a probability that must be neither 0 nor 1.
pub(crate) fn open_probability(name: &'static str, value: f64) -> Result<f64, ExperimentError> {
    (value > 0.0 && value < 1.0)
        .then_some(value)
        .ok_or(ExperimentError::Parameter {
            name,
            range: "between 0 and 1",
        })
}

/// Checks a figure that must be finite and above zero.
pub(crate) fn positive(name: &'static str, value: f64) -> Result<f64, ExperimentError> {
    (value > 0.0 && value.is_finite())
        .then_some(value)
        .ok_or(ExperimentError::Parameter {
            name,
            range: "finite and above 0",
        })
}

/// Checks a figure that must be finite and at least zero.
pub(crate) fn not_negative(name: &'static str, value: f64) -> Result<f64, ExperimentError> {
    (value >= 0.0 && value.is_finite())
        .then_some(value)
        .ok_or(ExperimentError::Parameter {
            name,
            range: "finite and at least 0",
        })
}
