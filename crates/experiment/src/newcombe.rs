//! The difference of two proportions whose unit is the request.

use farthing_economics::statistics::{Interval, wilson_interval};

use crate::error::{ExperimentError, open_probability};

/// Successes of independent trials. If the trials of a unit depend on each other, use
/// [`Arm::share`](crate::Arm::share).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Proportion {
    /// At most the trials.
    pub successes: u64,
    /// Requests.
    pub trials: u64,
}

impl Proportion {
    /// The share of successes.
    ///
    /// # Errors
    /// There are no trials, or more successes than trials.
    pub fn value(self) -> Result<f64, ExperimentError> {
        if self.trials == 0 {
            return Err(ExperimentError::EmptyArm);
        }
        if self.successes > self.trials {
            return Err(ExperimentError::NoShare);
        }
        Ok(self.successes as f64 / self.trials as f64)
    }

    /// Wilson's interval. It holds at one look only.
    ///
    /// # Errors
    /// As [`value`](Self::value), or the confidence is not between 0 and 1.
    pub fn interval(self, confidence: f64) -> Result<Interval, ExperimentError> {
        self.value()?;
        open_probability("the confidence", confidence)?;
        wilson_interval(self.successes, self.trials, confidence).ok_or(ExperimentError::NoShare)
    }
}

/// The interval of `candidate - baseline` by Newcombe's method 10 (1998), which combines two
/// intervals of Wilson. It never leaves -1 to 1, and has a width even if all trials agree. It holds
/// at one look only.
///
/// # Errors
/// An arm has no trials, or more successes than trials, or the confidence is not between 0 and 1.
pub fn newcombe_interval(
    baseline: Proportion,
    candidate: Proportion,
    confidence: f64,
) -> Result<Interval, ExperimentError> {
    let (base, share) = (baseline.value()?, candidate.value()?);
    let of_base = baseline.interval(confidence)?;
    let of_share = candidate.interval(confidence)?;
    let difference = share - base;
    let below = (share - of_share.low).hypot(of_base.high - base);
    let above = (of_share.high - share).hypot(base - of_base.low);
    Ok(Interval {
        low: (difference - below).max(-1.0),
        high: (difference + above).min(1.0),
    })
}
