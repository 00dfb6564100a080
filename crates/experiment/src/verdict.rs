//! Whether the candidate may replace the baseline.

use farthing_economics::statistics::Interval;

use crate::error::{ExperimentError, not_negative, open_probability};
use crate::estimate::Estimate;
use crate::figure::{Figure, Percent};
use crate::inference::Inference;
use crate::sample_ratio::SampleRatio;
use crate::sample_size::SampleSize;

/// What was decided before the start.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct VerdictRule {
    /// When the intervals hold.
    pub inference: Inference,
    /// Of each two-sided interval, for example 0.95. "Non-inferior and cheaper" needs both ends, so
    /// it is wrong with probability `(1 - confidence) / 2` at most, "worse" twice that.
    pub confidence: f64,
    /// By how much the candidate's quality may be lower, in the quality's unit: 0.02 is two
    /// percentage points of accepted answers.
    pub quality_margin: f64,
    /// What the arms are.
    pub purpose: Purpose,
}

/// What the arms are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Purpose {
    /// Two models.
    Compare,
    /// Twice the same model, to test the experiment itself.
    SameInBoth,
}

/// What the experiment has measured.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Evidence {
    /// How units came to the arms.
    pub assignment: Assignment,
    /// The candidate's quality minus the baseline's. Quality is what more of is better: the share of
    /// accepted answers.
    pub quality: Result<Estimate, ExperimentError>,
    /// The candidate's dollars per accepted answer, relative to the baseline's.
    pub cost: Result<Estimate, ExperimentError>,
}

/// How units came to the arms. The baseline is first.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Assignment {
    /// Each unit went to one arm.
    Split {
        /// All units that were assigned to each, whether or not they have a value.
        units: [u64; 2],
        /// The arms' weights.
        weights: [f64; 2],
    },
    /// Both arms answered every unit (shadow, replay), so there is no ratio to check. The
    /// differences are then those of an [`ArmPair`](crate::ArmPair).
    Both,
}

/// What the experiment has shown.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Verdict {
    /// The state.
    pub state: State,
    /// Why, in words and numbers.
    pub reason: String,
    /// What the arms are.
    pub purpose: Purpose,
    /// The check of the arms' units; `None` before the first unit, and if both arms answer all.
    pub sample_ratio: Option<SampleRatio>,
    /// The candidate's quality minus the baseline's.
    pub quality: Option<Shown>,
    /// The candidate's cost relative to the baseline's (-0.1 = 10 % cheaper).
    pub cost: Option<Shown>,
}

/// A difference with its interval.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct Shown {
    /// The estimate.
    pub value: f64,
    /// The two-sided interval.
    pub interval: Interval,
}

/// The state of an experiment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Nothing is shown yet, and the planned sample is not there yet.
    Collecting,
    /// Nothing is shown, and the planned sample is there.
    Inconclusive,
    /// The quality is lower by less than the margin, and the cost is lower.
    NonInferiorAndCheaper,
    /// The quality is lower by more than the margin, or the cost is higher.
    Worse,
    /// The arms did not get the units that their weights promise.
    Invalid,
}

impl VerdictRule {
    /// Judges a candidate. In an A/A test the same analysis runs, and its words say so.
    ///
    /// # Errors
    /// A parameter is out of range, or a figure has an error that more data would not mend.
    pub fn judge(&self, evidence: &Evidence) -> Result<Verdict, ExperimentError> {
        not_negative("the quality margin", self.quality_margin)?;
        open_probability("the confidence", self.confidence)?;
        let (ratio, mismatch) = match evidence.assignment {
            Assignment::Split { units, weights } => {
                let ratio = for_now(SampleRatio::check(&units, &weights))?.ok();
                let failed = ratio.filter(|ratio| !ratio.passes());
                (ratio, failed.map(|failed| mismatch(units, weights, failed)))
            }
            Assignment::Both => (None, None),
        };
        let verdict = |state, reason, quality, cost| Verdict {
            state,
            reason: self.introduced(reason),
            purpose: self.purpose,
            sample_ratio: ratio,
            quality,
            cost,
        };
        if let Some(reason) = mismatch {
            return Ok(verdict(State::Invalid, reason, None, None));
        }
        let figures = [evidence.quality, evidence.cost];
        let [quality, cost] = figures.map(|figure| figure.and_then(|figure| self.shown(&figure)));
        match (for_now(quality)?, for_now(cost)?) {
            (Ok((quality, of_quality)), Ok((cost, of_cost))) => {
                let sizes = [of_quality, of_cost];
                let state = self.state(quality.interval, cost.interval, sizes);
                let reason = self.reason(state, quality, cost, sizes);
                Ok(verdict(state, reason, Some(quality), Some(cost)))
            }
            (Err(error), other) => {
                let reason = format!("the quality can't be compared yet: {error}.");
                let cost = other.ok().map(|(cost, _)| cost);
                Ok(verdict(State::Collecting, reason, None, cost))
            }
            (Ok((quality, _)), Err(error)) => {
                let reason = format!("the cost can't be compared yet: {error}.");
                Ok(verdict(State::Collecting, reason, Some(quality), None))
            }
        }
    }

    fn shown(&self, difference: &Estimate) -> Result<(Shown, SampleSize), ExperimentError> {
        let shown = Shown {
            value: difference.value,
            interval: difference.interval(self.inference, self.confidence)?,
        };
        Ok((shown, difference.size))
    }

    fn state(&self, quality: Interval, cost: Interval, sizes: [SampleSize; 2]) -> State {
        if !sizes
            .iter()
            .all(|size| self.inference.allows_verdict(*size))
        {
            return State::Collecting;
        }
        if quality.high < -self.quality_margin || cost.low > 0.0 {
            State::Worse
        } else if quality.low > -self.quality_margin && cost.high < 0.0 {
            State::NonInferiorAndCheaper
        } else if sizes
            .iter()
            .all(|size| self.inference.is_planned_size(*size))
        {
            State::Inconclusive
        } else {
            State::Collecting
        }
    }

    fn reason(&self, state: State, quality: Shown, cost: Shown, sizes: [SampleSize; 2]) -> String {
        let figures = format!(
            "Quality differs by {} ({} to {}; margin -{}), cost per accepted answer by {} ({} to {}).",
            Figure(quality.value),
            Figure(quality.interval.low),
            Figure(quality.interval.high),
            Figure(self.quality_margin),
            Percent(cost.value),
            Percent(cost.interval.low),
            Percent(cost.interval.high),
        );
        let is_lower = quality.interval.high < -self.quality_margin;
        let words = match state {
            State::NonInferiorAndCheaper => {
                "the candidate is not worse by more than the margin, and it is cheaper".to_owned()
            }
            State::Worse if is_lower => {
                "the candidate's quality is lower by more than the margin".to_owned()
            }
            State::Worse => "the candidate costs more".to_owned(),
            State::Collecting => format!("{}, no verdict yet", self.progress(sizes)),
            State::Inconclusive | State::Invalid => {
                "the planned sample is there, but the intervals still leave both answers open"
                    .to_owned()
            }
        };
        format!("{words}. {figures}")
    }

    fn progress(&self, sizes: [SampleSize; 2]) -> String {
        let least = |of: fn(&SampleSize) -> u64| sizes.iter().map(of).min().unwrap_or(0);
        match self.inference {
            Inference::AlwaysValid { tuned_to } => {
                format!("{} of about {tuned_to} units", least(|size| size.units))
            }
            Inference::FixedHorizon { units_per_arm } => format!(
                "{} of {units_per_arm} units in the smaller arm",
                least(|size| size.least_units)
            ),
        }
    }

    fn introduced(&self, reason: String) -> String {
        match self.purpose {
            Purpose::Compare => {
                let mut letters = reason.chars();
                let first = letters
                    .next()
                    .map(|letter| letter.to_uppercase().to_string());
                first.unwrap_or_default() + letters.as_str()
            }
            Purpose::SameInBoth => {
                format!("A/A test, both arms are the same, so any difference is a fault: {reason}")
            }
        }
    }
}

/// Keeps errors that more data may mend; the others end the analysis.
fn for_now<T>(
    result: Result<T, ExperimentError>,
) -> Result<Result<T, ExperimentError>, ExperimentError> {
    match result {
        Err(error) if !error.is_for_now() => Err(error),
        other => Ok(other),
    }
}

fn mismatch(units: [u64; 2], weights: [f64; 2], ratio: SampleRatio) -> String {
    let all = (units[0] as f64 + units[1] as f64) / (weights[0] + weights[1]);
    let [base, other] = weights.map(|weight| Figure((all * weight).round()).to_string());
    format!(
        "the arms got {} and {} units, where their weights promise {base} and {other} (p = {}). \
         Units are lost or counted twice, so no figure can be trusted.",
        units[0],
        units[1],
        Figure(ratio.p_value)
    )
}
