//! An experiment as it was planned.

mod moment;

use farthing_experiment::Inference;
use serde::{Deserialize, Serialize};

pub(crate) use self::moment::Moment;
use crate::UnitKind;

/// What was decided before the start of an experiment. In TOML:
///
/// ```toml
/// id = "legal-1"
/// route = "legal"
/// baseline = "gpt"
/// candidate = "ours"
/// unit = "user"
/// salt = "2026-11"
/// design = "split"
/// margin = 0.02
/// inference = { always_valid = { tuned_to = 2000 } }
/// started = "2026-11-28T00:00:00Z"
/// quality = { metric = "accepted", from = "feedback", accept_at_least = 1.0 }
///
/// [guardrails]
/// error_rate = { limit = 0.02, action = "roll_back" }
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExperimentSpec {
    /// The experiment's id.
    pub id: String,
    /// The route whose arms it compares.
    pub route: String,
    /// The arm that serves today.
    pub baseline: String,
    /// The arm that may replace it.
    pub candidate: String,
    /// What is assigned to an arm, and what the statistics count.
    pub unit: UnitKind,
    /// Keeps the assignments of different experiments apart.
    pub salt: String,
    /// How units come to the arms.
    #[serde(default)]
    pub design: Design,
    /// What makes an answer acceptable.
    pub quality: Quality,
    /// By how much the candidate's share of accepted answers may be lower: 0.02 is two percentage
    /// points.
    pub margin: f64,
    /// Of each two-sided interval.
    #[serde(default = "default_confidence")]
    pub confidence: f64,
    /// When the intervals hold.
    pub inference: Inference,
    /// Whether both arms are the same model, to test the experiment itself.
    #[serde(default)]
    pub aa: bool,
    /// Limits that warn, or end the experiment.
    #[serde(default)]
    pub guardrails: GuardrailSpecs,
    /// When it started, as a timestamp with a time zone (RFC 3339).
    pub started: String,
}

/// How units come to the arms.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Design {
    /// Each unit goes to one arm.
    #[default]
    Split,
    /// The baseline answers, and the candidate runs beside it. Each of both answers is a request of
    /// its own, assigned to its arm under the same unit.
    Shadow,
}

/// What makes an answer acceptable.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Quality {
    /// The metric of the feedback.
    pub metric: String,
    /// Whose values count.
    pub from: QualitySource,
    /// An answer is accepted from this value on.
    pub accept_at_least: f64,
}

/// Whose values count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum QualitySource {
    /// People: the source `feedback`.
    Feedback,
    /// Checks in the route: the source `check`.
    Check,
    /// Judges: sources that begin with `judge:`. Several judges of an answer count with their mean.
    Judge,
}

/// Limits on harms of the candidate.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GuardrailSpecs {
    /// By how much its share of failed requests may be higher: 0.02 is two percentage points.
    pub error_rate: Option<GuardrailSpec>,
    /// By how many seconds its 95th percentile of the time to first token may be longer.
    pub ttft_p95_seconds: Option<GuardrailSpec>,
    /// By how much its share of empty answers may be higher.
    pub empty_answers: Option<GuardrailSpec>,
    /// By which part its cost per request may be higher: 0.1 is 10 %.
    pub spend: Option<GuardrailSpec>,
}

/// One limit.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GuardrailSpec {
    /// The limit.
    pub limit: f64,
    /// What happens when it is exceeded.
    pub action: GuardrailAct,
}

/// What happens when a limit is exceeded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GuardrailAct {
    /// The report says so.
    Warn,
    /// The candidate gets no more traffic.
    RollBack,
}

/// Why a specification is refused. The message names the key.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum SpecError {
    /// It is not TOML, or has wrong keys or types.
    #[error("{0}")]
    Syntax(String),
    /// A value is out of range.
    #[error("`{key}` must be {must}")]
    Value {
        /// The key.
        key: String,
        /// What it must be.
        must: &'static str,
    },
}

const fn default_confidence() -> f64 {
    0.95
}

impl QualitySource {
    /// Whether a source of feedback is one of these.
    pub(crate) fn includes(self, source: &str) -> bool {
        match self {
            Self::Feedback => source == "feedback",
            Self::Check => source == "check",
            Self::Judge => source.starts_with("judge:"),
        }
    }
}

impl ExperimentSpec {
    /// Reads and checks a specification.
    ///
    /// # Errors
    /// The text is not TOML, a key is unknown or missing, or a value is out of range.
    pub fn from_toml(text: &str) -> Result<Self, SpecError> {
        let spec: Self =
            toml::from_str(text).map_err(|error| SpecError::Syntax(error.to_string()))?;
        spec.check()?;
        Ok(spec)
    }

    /// Whether a report can change something by itself: take an arm out of the assignment, or decide at a
    /// fixed horizon.
    pub fn is_watched(&self) -> bool {
        let mut guardrails = self.guardrails.all();
        guardrails.any(|(_, it)| it.action == GuardrailAct::RollBack)
            || matches!(self.inference, Inference::FixedHorizon { .. })
    }

    /// Checks the values.
    ///
    /// # Errors
    /// A value is out of range.
    pub fn check(&self) -> Result<(), SpecError> {
        let must = |key: &str, is_right: bool, must| match is_right {
            true => Ok(()),
            false => Err(SpecError::Value {
                key: key.to_owned(),
                must,
            }),
        };
        for (key, text) in [
            ("id", &self.id),
            ("route", &self.route),
            ("salt", &self.salt),
            ("quality.metric", &self.quality.metric),
        ] {
            must(key, !text.is_empty(), "a text that is not empty")?;
        }
        for (key, arm) in [("baseline", &self.baseline), ("candidate", &self.candidate)] {
            let is_name = !arm.is_empty() && !arm.contains('@');
            must(key, is_name, "the name of an arm, without `@`")?;
        }
        let are_two = self.baseline != self.candidate;
        must("candidate", are_two, "another arm than the baseline")?;
        let is_finite = self.quality.accept_at_least.is_finite();
        must("quality.accept_at_least", is_finite, "a finite number")?;
        must(
            "margin",
            (0.0..1.0).contains(&self.margin),
            "at least 0 and below 1: 0.02 is two percentage points",
        )?;
        must(
            "confidence",
            self.confidence >= 0.5 && self.confidence < 1.0,
            "at least 0.5 and below 1, for example 0.95",
        )?;
        match self.inference {
            Inference::AlwaysValid { tuned_to } => must(
                "inference.always_valid.tuned_to",
                tuned_to >= 2 * Inference::LEAST_UNITS,
                "at least 60: the units of both arms that are expected",
            )?,
            Inference::FixedHorizon { units_per_arm } => must(
                "inference.fixed_horizon.units_per_arm",
                units_per_arm >= 2,
                "at least 2: the units of each arm that were planned",
            )?,
        }
        for (key, guardrail) in self.guardrails.all() {
            let is_limit = guardrail.limit.is_finite() && guardrail.limit >= 0.0;
            let key = format!("guardrails.{key}.limit");
            must(&key, is_limit, "finite and at least 0")?;
        }
        Moment::parse(&self.started).map(drop)
    }

    /// When it started, in microseconds since 1970.
    ///
    /// # Errors
    /// It is not a timestamp.
    pub fn started_us(&self) -> Result<i64, SpecError> {
        Ok(Moment::parse(&self.started)?.microseconds())
    }
}

impl GuardrailSpecs {
    /// Those that are set, by key.
    pub(crate) fn all(&self) -> impl Iterator<Item = (&'static str, GuardrailSpec)> {
        let all = [
            ("error_rate", self.error_rate),
            ("ttft_p95_seconds", self.ttft_p95_seconds),
            ("empty_answers", self.empty_answers),
            ("spend", self.spend),
        ];
        all.into_iter()
            .filter_map(|(key, guardrail)| Some((key, guardrail?)))
    }
}
