//! A judged share corrected by the judge's own errors.

use farthing_economics::statistics::Interval;

use crate::error::{ExperimentError, finite};
use crate::estimate::Estimate;
use crate::inference::{Inference, Sides};
use crate::newcombe::Proportion;
use crate::sample_size::SampleSize;

/// How often a judge was right on a sample that people labelled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JudgeCalibration {
    /// Sensitivity: of the pairs that people gave to the candidate (or the answers that they
    /// accepted), those that the judge gave to it, too.
    pub sensitivity: Proportion,
    /// Specificity: of the others, those that the judge did not give to it.
    pub specificity: Proportion,
}

/// A share as a judge sees it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct JudgedShare {
    value: f64,
    /// The number of independent trials that have the same error.
    trials: f64,
    size: SampleSize,
}

/// The share as people would see it.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct CorrectedShare {
    /// The share that the judge gave.
    pub judged: f64,
    /// Rogan and Gladen's estimate (1978), cut to 0 to 1.
    pub value: f64,
    /// Its interval, which includes the errors of the judged sample and of the labelled one.
    pub interval: Interval,
}

impl JudgedShare {
    /// Of independent pairs.
    ///
    /// # Errors
    /// There are no trials, or more successes than trials.
    pub fn of_trials(judged: Proportion) -> Result<Self, ExperimentError> {
        Ok(Self {
            value: judged.value()?,
            trials: judged.trials as f64,
            size: SampleSize::of_arm(judged.trials),
        })
    }

    /// Of pairs that depend on each other within a unit: [`Arm::share`](crate::Arm::share), whose
    /// clustered error decides how many independent pairs they are worth. `pairs` is their number,
    /// and the most that they can be worth.
    ///
    /// # Errors
    /// The share has no error or is not a share.
    pub fn clustered(judged: &Estimate, pairs: u64) -> Result<Self, ExperimentError> {
        if judged.standard_error == 0.0 {
            return Err(ExperimentError::ZeroVariance);
        }
        if !(0.0..=1.0).contains(&judged.value) {
            return Err(ExperimentError::NoShare);
        }
        let spread = judged.value * (1.0 - judged.value);
        // At 0 and 1 the error says nothing about the pairs, but there is at least one per unit.
        let worth = if spread > 0.0 {
            spread / judged.standard_error.powi(2)
        } else {
            judged.size.units as f64
        };
        Ok(Self {
            value: judged.value,
            trials: finite(worth)?.min(pairs as f64),
            size: judged.size,
        })
    }
}

impl JudgeCalibration {
    /// The share as people would see it: `(judged + specificity - 1) / (sensitivity + specificity - 1)`,
    /// with the interval of Lang and Reiczigel (2014) that Lee et al., "How to Correctly Report
    /// LLM-as-a-Judge Evaluations" (arXiv:2511.21140), recommend: adjusted Wald, with two or z²
    /// trials added to each sample and a shift of its centre.
    ///
    /// With [`Inference::AlwaysValid`] the normal quantile is replaced by the confidence sequence's.
    ///
    /// # Errors
    /// The judge is no better than chance, a sample is empty, there are too few units, or the
    /// confidence is not between 0 and 1.
    pub fn correct(
        &self,
        judged: &JudgedShare,
        inference: Inference,
        confidence: f64,
    ) -> Result<CorrectedShare, ExperimentError> {
        let (sensitivity, specificity) = (self.sensitivity.value()?, self.specificity.value()?);
        let better = sensitivity + specificity - 1.0;
        if better <= 0.0 {
            return Err(ExperimentError::UselessJudge);
        }
        let value = (judged.value + specificity - 1.0) / better;
        // The published interval uses the normal quantile.
        let size = SampleSize {
            degrees_of_freedom: f64::INFINITY,
            ..judged.size
        };
        let z = inference.multiplier(size, confidence, Sides::Two)?;
        Ok(CorrectedShare {
            judged: judged.value,
            value: value.clamp(0.0, 1.0),
            interval: self.interval(judged, z)?,
        })
    }

    fn interval(&self, judged: &JudgedShare, z: f64) -> Result<Interval, ExperimentError> {
        let trials = judged.trials + z * z;
        let share = (judged.trials * judged.value + z * z / 2.0) / trials;
        let [(sensitivity, of_sensitivity), (specificity, of_specificity)] =
            [self.sensitivity, self.specificity].map(with_two_more);
        let better = sensitivity + specificity - 1.0;
        if better <= 0.0 {
            return Err(ExperimentError::UselessJudge);
        }
        let centre = (share + specificity - 1.0) / better;
        let [missed, false_wins] = [centre * of_sensitivity, (1.0 - centre) * of_specificity];
        let shift = 2.0 * z * z * (missed - false_wins);
        let variance =
            share * (1.0 - share) / trials + centre * missed + (1.0 - centre) * false_wins;
        let half = z * finite(variance.sqrt())? / better;
        Ok(Interval {
            low: (centre + shift - half).clamp(0.0, 1.0),
            high: (centre + shift + half).clamp(0.0, 1.0),
        })
    }
}

/// The rate and its variance after one success and one failure more.
fn with_two_more(sample: Proportion) -> (f64, f64) {
    let trials = sample.trials as f64 + 2.0;
    let rate = (sample.successes as f64 + 1.0) / trials;
    (rate, rate * (1.0 - rate) / trials)
}
