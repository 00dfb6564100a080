//! Limits on harms of the candidate.

use farthing_experiment::{ExperimentError, Guardrail, GuardrailAction, GuardrailStatus};
use serde::Serialize;

use super::comparison::Comparison;
use super::metrics::ArmPairRows;
use crate::{ExperimentSpec, GuardrailAct};

/// A limit, and what is known of the harm.
#[derive(Clone, Debug, Serialize)]
pub(super) struct GuardrailReport {
    /// What is watched.
    pub(super) harm: &'static str,
    /// The highest harmless value.
    limit: f64,
    /// What happens when it is exceeded.
    pub(super) action: GuardrailAct,
    /// What is known.
    pub(super) status: GuardrailStatus,
}

/// Of each limit, at any time.
const CONFIDENCE: f64 = 0.99;
/// Units at which the bounds are nearest: few, to act early.
const TUNED_TO: u64 = 500;

pub(super) fn watch(
    pair: &ArmPairRows,
    spec: &ExperimentSpec,
    comparison: &Comparison,
) -> Result<Vec<GuardrailReport>, ExperimentError> {
    let mut reports = Vec::new();
    for (key, guardrail) in spec.guardrails.all() {
        let (harm, found) = match key {
            "error_rate" => (
                "more failed requests",
                pair.share_difference(|arm| pair.failures(arm)),
            ),
            "empty_answers" => (
                "more empty answers",
                pair.share_difference(|arm| pair.empty(arm)),
            ),
            "spend" => (
                "more spent per request, relative",
                pair.relative_difference(|arm| pair.usd_per_request(arm)),
            ),
            _ => ("later first token (p95), seconds", comparison.ttft_p95),
        };
        let status = Guardrail {
            name: harm.to_owned(),
            limit: guardrail.limit,
            confidence: CONFIDENCE,
            tuned_to: TUNED_TO,
        }
        .watch(found)?;
        reports.push(GuardrailReport {
            harm,
            limit: guardrail.limit,
            action: guardrail.action,
            status,
        });
    }
    Ok(reports)
}

impl GuardrailReport {
    /// Whether the limit is exceeded.
    pub(super) fn is_exceeded(&self) -> bool {
        self.status.action == GuardrailAction::RollBack
    }

    /// Whether the limit is exceeded and ends the experiment.
    pub(super) fn is_rolling_back(&self) -> bool {
        self.is_exceeded() && self.action == GuardrailAct::RollBack
    }
}
