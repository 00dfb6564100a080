//! How many units an experiment needs, from the variance of past traffic.

use farthing_economics::statistics::normal_quantile;

use crate::error::{ExperimentError, finite, not_negative, open_probability, positive};
use crate::estimate::Estimate;
use crate::normal_mixture::NormalMixture;

/// Bisections of the error that a plan allows: to the last bit.
const BISECTIONS: u32 = 100;

/// What an experiment must be able to show.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Planner {
    /// The chance of showing an effect that is there, for example 0.8; at least 0.5.
    pub power: f64,
    /// The confidence of the interval, for example 0.95.
    pub confidence: f64,
    /// How often it is looked at.
    pub looks: Looks,
    /// The candidate's units for each unit of the baseline.
    pub ratio: f64,
}

/// How often an experiment is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Looks {
    /// Once, when the planned units are there.
    Once,
    /// At any time. The power is that of the look at the planned units, to which the intervals are
    /// tuned, so that of all looks together is higher.
    Any,
}

/// The units of each arm.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct Plan {
    /// Units of the baseline, not rounded.
    pub exact: f64,
    /// Units of the baseline.
    pub baseline: u64,
    /// Units of the candidate.
    pub candidate: u64,
}

/// The spread of a metric between assignment units.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct UnitSpread {
    /// The metric's value.
    pub mean: f64,
    /// The variance of one unit's contribution, so that an arm's variance is this over its units.
    pub variance: f64,
}

impl UnitSpread {
    /// From past traffic, clusters included.
    ///
    /// # Errors
    /// The estimate does not vary, or is not finite.
    pub fn of(past: &Estimate) -> Result<Self, ExperimentError> {
        if past.standard_error == 0.0 {
            return Err(ExperimentError::ZeroVariance);
        }
        Ok(Self {
            mean: finite(past.value)?,
            variance: finite(past.standard_error.powi(2) * past.size.units as f64)?,
        })
    }

    /// From single requests: their mean and variance, the requests of a unit, and the correlation of
    /// two requests of the same unit (Kish's design effect, `1 + (requests - 1) × correlation`).
    ///
    /// # Errors
    /// A figure is out of range.
    pub fn of_requests(
        mean: f64,
        variance: f64,
        requests_per_unit: f64,
        correlation: f64,
    ) -> Result<Self, ExperimentError> {
        if !(requests_per_unit >= 1.0 && requests_per_unit.is_finite()) {
            return Err(ExperimentError::Parameter {
                name: "the requests of a unit",
                range: "at least 1",
            });
        }
        if !(0.0..=1.0).contains(&correlation) {
            return Err(ExperimentError::Parameter {
                name: "the correlation within a unit",
                range: "from 0 to 1",
            });
        }
        let effect = 1.0 + (requests_per_unit - 1.0) * correlation;
        Ok(Self {
            mean: finite(mean)?,
            variance: positive("the variance", variance)? * effect / requests_per_unit,
        })
    }

    /// Of a proportion of single requests.
    ///
    /// # Errors
    /// The proportion is not between 0 and 1.
    pub fn of_proportion(proportion: f64) -> Result<Self, ExperimentError> {
        let mean = open_probability("the proportion", proportion)?;
        Ok(Self {
            mean,
            variance: mean * (1.0 - mean),
        })
    }

    /// As a part of the mean.
    ///
    /// # Errors
    /// The mean is zero.
    fn relative(self) -> Result<Self, ExperimentError> {
        if self.mean == 0.0 {
            return Err(ExperimentError::ZeroBaseline);
        }
        Ok(Self {
            mean: 1.0,
            variance: finite(self.variance / (self.mean * self.mean))?,
        })
    }
}

impl Planner {
    /// The units that show a difference between two arms of these spreads, two-sided.
    ///
    /// # Errors
    /// The means are equal, or a parameter is out of range.
    pub fn for_difference(
        &self,
        baseline: UnitSpread,
        candidate: UnitSpread,
    ) -> Result<Plan, ExperimentError> {
        let distance = (candidate.mean - baseline.mean).abs();
        self.plan(baseline, candidate, distance)
    }

    /// The units that show a relative difference `effect` (0.1 = 10 %) of a metric whose spread
    /// relative to its mean is the same in both arms.
    ///
    /// The error of a relative difference grows with the measured ratio, so a cost that is lower by
    /// chance has a smaller error, too. The logarithm of the ratio is nearly normal, and the plan
    /// goes by the ratio beyond which the interval excludes zero.
    ///
    /// # Errors
    /// The effect or the mean is zero, the effect is at most -1, or a parameter is out of range.
    pub fn for_relative_difference(
        &self,
        spread: UnitSpread,
        effect: f64,
    ) -> Result<Plan, ExperimentError> {
        let distance = positive("1 + the effect", 1.0 + effect)?.ln();
        positive("the effect's size", distance.abs())?;
        let relative = spread.relative()?;
        let (power, multiplier) = (self.power()?, self.multiplier()?);
        // The interval excludes zero if the ratio is beyond 1/(1 ± multiplier × error).
        let sign = effect.signum();
        let missing = |error: f64| {
            let beyond = -(-sign * multiplier * error).ln_1p();
            sign * (distance - beyond) - power * error
        };
        let (mut low, mut high) = (0.0, multiplier.recip());
        for _ in 0..BISECTIONS {
            let middle = f64::midpoint(low, high);
            if missing(middle) > 0.0 {
                low = middle;
            } else {
                high = middle;
            }
        }
        let ratio = positive("the ratio of the arms", self.ratio)?;
        self.plan_of(relative.variance * (1.0 + ratio.recip()) / (low * low))
    }

    /// The units that show that the candidate is worse by less than `margin`, if it is better by
    /// `candidate.mean - baseline.mean` in truth (0 if it is as good). The bound is one-sided, at
    /// the two-sided interval's end, as a verdict uses it.
    ///
    /// # Errors
    /// The candidate is worse by the margin or more, or a parameter is out of range.
    pub fn for_non_inferiority(
        &self,
        baseline: UnitSpread,
        candidate: UnitSpread,
        margin: f64,
    ) -> Result<Plan, ExperimentError> {
        not_negative("the margin", margin)?;
        let distance = candidate.mean - baseline.mean + margin;
        self.plan(baseline, candidate, distance)
    }

    fn plan(
        &self,
        baseline: UnitSpread,
        candidate: UnitSpread,
        distance: f64,
    ) -> Result<Plan, ExperimentError> {
        let ratio = positive("the ratio of the arms", self.ratio)?;
        positive("the distance to show", distance)?;
        let (power, multiplier) = (self.power()?, self.multiplier()?);
        let variance = not_negative("a variance", baseline.variance)?
            + not_negative("a variance", candidate.variance)? / ratio;
        self.plan_of(variance * ((multiplier + power) / distance).powi(2))
    }

    fn plan_of(&self, exact: f64) -> Result<Plan, ExperimentError> {
        // Without variance there would be no units.
        let exact = positive("the variance", finite(exact)?)?;
        Ok(Plan {
            exact,
            baseline: exact.ceil() as u64,
            candidate: (exact * self.ratio).ceil() as u64,
        })
    }

    /// The power as a normal quantile.
    fn power(&self) -> Result<f64, ExperimentError> {
        if !(self.power >= 0.5 && self.power < 1.0) {
            return Err(ExperimentError::Parameter {
                name: "the power",
                range: "at least 0.5 and below 1",
            });
        }
        Ok(normal_quantile(self.power))
    }

    /// The half-width in standard errors at the planned size.
    fn multiplier(&self) -> Result<f64, ExperimentError> {
        let alpha = 1.0 - open_probability("the confidence", self.confidence)?;
        match self.looks {
            Looks::Once => Ok(-normal_quantile(alpha / 2.0)),
            // At the size that they are tuned to, all boundaries have the same height.
            Looks::Any => Ok(NormalMixture::two_sided(1.0, alpha)?.two_sided_bound(1.0, alpha)),
        }
    }
}
