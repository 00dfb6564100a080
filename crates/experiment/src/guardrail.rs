//! Limits that roll a candidate back.

use crate::error::{ExperimentError, finite, open_probability};
use crate::estimate::Estimate;
use crate::figure::Figure;
use crate::inference::Inference;

/// A harm that ends an experiment when it is shown: more errors or empty answers, a slower first
/// token, more spending.
///
/// It is watched all the time, so its bound is one-sided and always valid. The chance that it ever
/// rolls back a candidate within the limit is at most `1 - confidence`.
#[derive(Clone, Debug, PartialEq)]
pub struct Guardrail {
    /// What is watched, for the sentence: "error rate".
    pub name: String,
    /// The highest harmless value of the harm, in its unit: of a difference, how much worse the
    /// candidate may be.
    pub limit: f64,
    /// For example 0.99.
    pub confidence: f64,
    /// The units of all arms together at which the bound is nearest: small, to act early.
    pub tuned_to: u64,
}

/// What a guardrail has to say.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct GuardrailStatus {
    /// Whether to act.
    pub action: GuardrailAction,
    /// The harm is at least this; `None` if that is not known yet.
    pub at_least: Option<f64>,
    /// Why, in words and numbers.
    pub reason: String,
}

/// Whether to act.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum GuardrailAction {
    /// There is too little data for a bound.
    TooEarly,
    /// The harm is not shown to exceed the limit.
    Hold,
    /// The harm exceeds the limit: send no more traffic to the candidate.
    RollBack,
}

impl Guardrail {
    /// Judges the harm, of which more is worse: for errors and empty answers a difference of
    /// [`Arm::share`](crate::Arm::share), for spending a relative difference of
    /// [`Arm::ratio`](crate::Arm::ratio), for the 95th percentile of the time to first token the
    /// `difference` of a [`QuantileDifference`](crate::QuantileDifference).
    ///
    /// # Errors
    /// A parameter is out of range, or the harm has an error that more data would not mend.
    pub fn watch(
        &self,
        harm: Result<Estimate, ExperimentError>,
    ) -> Result<GuardrailStatus, ExperimentError> {
        finite(self.limit)?;
        open_probability("the confidence", self.confidence)?;
        let inference = Inference::AlwaysValid {
            tuned_to: self.tuned_to,
        };
        let found = harm.and_then(|harm| {
            let bound = harm.lower_bound(inference, self.confidence)?;
            Ok((harm.value, bound))
        });
        let (value, bound) = match found {
            Ok(found) => found,
            Err(error) if error.is_for_now() => {
                return Ok(GuardrailStatus {
                    action: GuardrailAction::TooEarly,
                    at_least: None,
                    reason: format!("{}: too early to say, {error}.", self.name),
                });
            }
            Err(error) => return Err(error),
        };
        let (action, verdict, relation) = if bound > self.limit {
            (GuardrailAction::RollBack, "roll back", "above")
        } else {
            (GuardrailAction::Hold, "hold", "not above")
        };
        let reason = format!(
            "{}: {verdict}. It is {}, and at least {} with {} % confidence at any time, which is \
             {relation} the limit of {}.",
            self.name,
            Figure(value),
            Figure(bound),
            Figure(self.confidence * 100.0),
            Figure(self.limit)
        );
        Ok(GuardrailStatus {
            action,
            at_least: Some(bound),
            reason,
        })
    }
}
