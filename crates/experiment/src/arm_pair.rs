//! Two arms that answered the same units.

use crate::arm::{Arm, least_share_error};
use crate::error::{ExperimentError, finite};
use crate::estimate::Estimate;
use crate::sample_size::SampleSize;

/// Two arms that answered the same units, as in shadow mode and replay. What is common to a unit's
/// answers cancels in their difference, so it needs far fewer units than a split does.
#[derive(Debug)]
pub struct ArmPair<'a, K: Ord> {
    /// What the candidate is compared with.
    pub baseline: &'a Arm<K>,
    /// What may replace it.
    pub candidate: &'a Arm<K>,
}

impl<K: Ord> ArmPair<'_, K> {
    /// `candidate - baseline`, with the delta method's error clustered on the unit. A unit that only
    /// one arm has counts, too.
    ///
    /// # Errors
    /// As [`Arm::ratio`].
    pub fn difference(&self) -> Result<Estimate, ExperimentError> {
        let [base, other] = self.ratios()?;
        self.estimate(other.value - base.value, [-1.0, 1.0])
    }

    /// The [`difference`](Self::difference) of a binary metric. As in [`Arm::share`], its error is
    /// never zero, even if all answers of both arms agree.
    ///
    /// # Errors
    /// As [`Arm::share`].
    pub fn share_difference(&self) -> Result<Estimate, ExperimentError> {
        self.baseline.check_share()?;
        self.candidate.check_share()?;
        let mut estimate = self.difference()?;
        let least = least_share_error(estimate.size);
        estimate.standard_error = estimate.standard_error.max(least);
        Ok(estimate)
    }

    /// `(candidate - baseline) / baseline`, likewise.
    ///
    /// # Errors
    /// As [`Arm::ratio`], or the baseline is too near zero.
    pub fn relative_difference(&self) -> Result<Estimate, ExperimentError> {
        let [base, other] = self.ratios()?;
        let value = Estimate::relative_difference(&base, &other)?.value;
        let slopes = [-other.value / (base.value * base.value), 1.0 / base.value];
        self.estimate(value, slopes)
    }

    fn ratios(&self) -> Result<[Estimate; 2], ExperimentError> {
        Ok([self.baseline.ratio()?, self.candidate.ratio()?])
    }

    /// `slopes` are the derivatives of `value` by the two ratios.
    fn estimate(&self, value: f64, slopes: [f64; 2]) -> Result<Estimate, ExperimentError> {
        let mut rests = self.baseline.rests(slopes[0])?;
        for (unit, rest) in self.candidate.rests(slopes[1])? {
            *rests.entry(unit).or_default() += rest;
        }
        let size = SampleSize::of_arm(rests.len() as u64);
        let count = rests.len() as f64;
        let squares: f64 = rests.values().map(|rest| rest * rest).sum();
        Ok(Estimate {
            value: finite(value)?,
            standard_error: finite((squares * count / (count - 1.0)).sqrt())?,
            size,
        })
    }
}
