//! A figure with its error, and differences of figures.

use farthing_economics::statistics::Interval;

use crate::error::{ExperimentError, finite};
use crate::inference::{Inference, Sides};
use crate::sample_size::SampleSize;

/// A figure with its standard error: of one arm, or a difference of two arms.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct Estimate {
    /// In the unit of the metric; a relative difference is a part of the baseline (0.1 = 10 %).
    pub value: f64,
    /// In the same unit.
    pub standard_error: f64,
    /// How many units it rests on.
    pub size: SampleSize,
}

/// A relative difference needs a baseline that is at least this many standard errors from zero.
const LEAST_BASELINE: f64 = 3.0;

impl Estimate {
    /// `candidate - baseline` of two arms without common units.
    ///
    /// # Errors
    /// The result is not finite.
    pub fn difference(baseline: &Self, candidate: &Self) -> Result<Self, ExperimentError> {
        let variances = [baseline, candidate].map(|arm| arm.standard_error.powi(2));
        Self::of_two(
            [baseline, candidate],
            candidate.value - baseline.value,
            variances[0] + variances[1],
        )
    }

    /// `(candidate - baseline) / baseline` of two arms without common units, with the error of the
    /// delta method.
    ///
    /// # Errors
    /// The baseline is within three standard errors of zero, where the delta method fails, or the
    /// result is not finite.
    pub fn relative_difference(baseline: &Self, candidate: &Self) -> Result<Self, ExperimentError> {
        let base = baseline.value;
        if base == 0.0 || base.abs() < LEAST_BASELINE * baseline.standard_error {
            return Err(ExperimentError::ZeroBaseline);
        }
        let ratio = candidate.value / base;
        let variance = (candidate.standard_error / base).powi(2)
            + (ratio * baseline.standard_error / base).powi(2);
        Self::of_two(
            [baseline, candidate],
            (candidate.value - base) / base,
            variance,
        )
    }

    fn of_two(arms: [&Self; 2], value: f64, variance: f64) -> Result<Self, ExperimentError> {
        let variances = arms.map(|arm| arm.standard_error.powi(2));
        Ok(Self {
            value: finite(value)?,
            standard_error: finite(variance.sqrt())?,
            size: SampleSize::of_two(arms.map(|arm| arm.size), variances),
        })
    }

    /// The two-sided confidence interval.
    ///
    /// # Errors
    /// There are too few units, no variance, or the confidence is not between 0 and 1.
    pub fn interval(
        &self,
        inference: Inference,
        confidence: f64,
    ) -> Result<Interval, ExperimentError> {
        let half = self.half_width(inference, confidence, Sides::Two)?;
        Ok(Interval {
            low: finite(self.value - half)?,
            high: finite(self.value + half)?,
        })
    }

    /// The figure is above this, with the confidence of this one statement.
    ///
    /// # Errors
    /// As [`interval`](Self::interval).
    pub fn lower_bound(
        &self,
        inference: Inference,
        confidence: f64,
    ) -> Result<f64, ExperimentError> {
        finite(self.value - self.half_width(inference, confidence, Sides::One)?)
    }

    /// The figure is below this, with the confidence of this one statement.
    ///
    /// # Errors
    /// As [`interval`](Self::interval).
    pub fn upper_bound(
        &self,
        inference: Inference,
        confidence: f64,
    ) -> Result<f64, ExperimentError> {
        finite(self.value + self.half_width(inference, confidence, Sides::One)?)
    }

    /// The two-sided p-value of the hypothesis that the figure is `null`. With
    /// [`Inference::AlwaysValid`] it holds at any number of looks.
    ///
    /// # Errors
    /// As [`interval`](Self::interval), or `null` is not finite.
    pub fn p_value(&self, inference: Inference, null: f64) -> Result<f64, ExperimentError> {
        self.check_error()?;
        inference.p_value(
            self.size,
            finite((self.value - null) / self.standard_error)?,
        )
    }

    fn half_width(
        &self,
        inference: Inference,
        confidence: f64,
        sides: Sides,
    ) -> Result<f64, ExperimentError> {
        self.check_error()?;
        finite(self.standard_error * inference.multiplier(self.size, confidence, sides)?)
    }

    fn check_error(&self) -> Result<(), ExperimentError> {
        finite(self.value)?;
        finite(self.standard_error)?;
        if self.standard_error == 0.0 {
            return Err(ExperimentError::ZeroVariance);
        }
        Ok(())
    }
}
