//! Whether the candidate may replace the baseline.

use farthing_experiment::{
    Assignment, Evidence, Inference, Purpose, SampleRatio, State, VerdictRule,
};
use farthing_ledger::{DecidedVerdict, LedgerReader};
use serde::{Deserialize, Serialize};

use super::comparison::Comparison;
use super::metrics::ArmPairRows;
use super::{ReportError, Split, time};
use crate::{Design, ExperimentSpec};

/// The verdict.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Decision {
    #[serde(flatten)]
    pub(super) verdict: Verdict,
    /// When a verdict at a fixed horizon was decided (RFC 3339). It does not change any more.
    pub(super) decided_at: Option<String>,
    /// The check of the arms' units against the weights.
    pub(super) sample_ratio: Option<SampleRatio>,
    /// It rests on its planned sample and is not recorded yet.
    #[serde(skip)]
    is_due: bool,
}

/// What is recorded of a verdict at a fixed horizon.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Verdict {
    pub(super) state: VerdictState,
    /// Why, in words and numbers.
    pub(super) reason: String,
}

/// The state of an experiment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum VerdictState {
    Collecting,
    Inconclusive,
    NonInferiorAndCheaper,
    Worse,
    Invalid,
}

/// What was decided before the start, as far as the verdict depends on it.
pub(super) struct Plan {
    experiment: String,
    text: String,
}

impl VerdictState {
    pub(super) fn words(self) -> &'static str {
        match self {
            Self::Collecting => "not yet",
            Self::Inconclusive => "inconclusive",
            Self::NonInferiorAndCheaper => "non-inferior and cheaper",
            Self::Worse => "worse",
            Self::Invalid => "invalid",
        }
    }
}

impl From<State> for VerdictState {
    fn from(state: State) -> Self {
        match state {
            State::Collecting => Self::Collecting,
            State::Inconclusive => Self::Inconclusive,
            State::NonInferiorAndCheaper => Self::NonInferiorAndCheaper,
            State::Worse => Self::Worse,
            State::Invalid => Self::Invalid,
        }
    }
}

impl Plan {
    pub(super) fn of(spec: &ExperimentSpec, pair: &ArmPairRows) -> Self {
        let [baseline, candidate] = [&pair.arms[0].name, &pair.arms[1].name];
        let quality = &spec.quality;
        let plan = serde_json::json!([
            spec.started,
            baseline,
            candidate,
            spec.inference,
            spec.confidence,
            spec.margin,
            quality.metric,
            quality.from,
            quality.accept_at_least,
        ]);
        Self {
            experiment: spec.id.clone(),
            text: plan.to_string(),
        }
    }

    /// The verdict that was decided, if there is one.
    pub(super) fn held(
        &self,
        ledger: &mut LedgerReader,
    ) -> Result<Option<DecidedVerdict>, ReportError> {
        Ok(ledger.decided_verdict(&self.experiment, &self.text)?)
    }
}

impl Decision {
    pub(super) fn of(
        pair: &ArmPairRows,
        spec: &ExperimentSpec,
        split: &Split,
        comparison: &Comparison,
        decided: Option<DecidedVerdict>,
    ) -> Result<Self, ReportError> {
        let rule = VerdictRule {
            inference: spec.inference,
            confidence: spec.confidence,
            quality_margin: spec.margin,
            purpose: match spec.aa {
                true => Purpose::SameInBoth,
                false => Purpose::Compare,
            },
        };
        let judged = rule.judge(&Evidence {
            assignment: match spec.design {
                Design::Split => Assignment::Split {
                    units: pair.assigned_units(),
                    weights: split.weights,
                },
                Design::Shadow => Assignment::Both,
            },
            quality: comparison.quality,
            cost: comparison.cost,
        })?;
        let mut verdict = Verdict {
            state: judged.state.into(),
            reason: judged.reason,
        };
        // Quality alone can decide, whatever the cost is.
        let quality = comparison.quality_difference.interval;
        let is_by_quality = quality.is_some_and(|it| it.high < -spec.margin);
        let open = open_cost(pair, verdict.state).filter(|_| !is_by_quality);
        if let Some(reason) = open {
            verdict = Verdict {
                state: VerdictState::Collecting,
                reason: format!("No verdict: {reason} {}", verdict.reason),
            };
        }
        let is_due = is_horizon_reached(pair, spec)
            && !matches!(
                verdict.state,
                VerdictState::Collecting | VerdictState::Invalid
            );
        let held = decided.and_then(|it| {
            let verdict = serde_json::from_str(&it.verdict).ok()?;
            Some((verdict, time::rfc3339(it.decided_us)))
        });
        let (held, decided_at) = held.unzip();
        Ok(Self {
            is_due: is_due && decided_at.is_none(),
            // A fault of the assignment is found at any time.
            verdict: match verdict.state {
                VerdictState::Invalid => verdict,
                _ => held.unwrap_or(verdict),
            },
            decided_at,
            sample_ratio: judged.sample_ratio,
        })
    }

    /// The record of a verdict that is decided by this look.
    pub(super) fn to_decide(&self, plan: &Plan, now_us: i64) -> Option<DecidedVerdict> {
        self.is_due.then(|| DecidedVerdict {
            experiment: plan.experiment.clone(),
            plan: plan.text.clone(),
            decided_us: now_us,
            verdict: serde_json::json!(self.verdict).to_string(),
        })
    }
}

fn is_horizon_reached(pair: &ArmPairRows, spec: &ExperimentSpec) -> bool {
    match spec.inference {
        Inference::FixedHorizon { units_per_arm } => pair
            .rated_units()
            .iter()
            .all(|units| *units >= units_per_arm),
        Inference::AlwaysValid { .. } => false,
    }
}

/// Why the cost leaves the verdict open: a cost that is only a lower limit can be higher.
fn open_cost(pair: &ArmPairRows, state: VerdictState) -> Option<String> {
    let of_arm = match state {
        VerdictState::NonInferiorAndCheaper => 1,
        VerdictState::Worse => 0,
        _ => return None,
    };
    let arm = &pair.arms[of_arm];
    if arm.totals.own.busy_usd().is_none() {
        return Some(format!(
            "the price of our machine is not known, so the cost of {} is not, either.",
            arm.name
        ));
    }
    (arm.totals.unknown_bills > 0).then(|| {
        format!(
            "{} bills of {} are unknown, so it costs at least what is shown.",
            arm.totals.unknown_bills, arm.name
        )
    })
}
