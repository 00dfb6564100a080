//! What an experiment has shown so far.

mod adapter_costs;
mod arm_report;
mod arm_rows;
mod break_even;
mod collect;
mod comparison;
mod decision;
mod guardrails;
mod measured;
mod metrics;
mod plan;
mod time;

mod html;
mod shown;
mod text;

use farthing_experiment::ExperimentError;
use farthing_ledger::{DecidedVerdict, LedgerError, LedgerReader};
use serde::Serialize;

use self::arm_report::ArmReport;
use self::break_even::BreakEvenReport;
use self::comparison::Comparison;
use self::decision::{Decision, VerdictState};
use self::guardrails::GuardrailReport;
use self::metrics::ArmPairRows;
use self::plan::PlanReport;
use self::time::{Load, Period};
use crate::{ExperimentSpec, SpecError};

/// How a route divides its units between the arms of an experiment.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Split {
    /// The weights of the baseline and of the candidate. They need not add up to 1.
    pub weights: [f64; 2],
    /// Since when they hold, in microseconds since 1970. Only requests since then are compared,
    /// because a mean over different weights mixes times.
    pub since_us: i64,
}

/// What an experiment has shown so far.
///
/// As JSON, every name has its unit, amounts of money have all of their digits, and `null` is
/// unknown. Statistics (values, intervals) are floats.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The version of this shape.
    version: u32,
    /// When it was computed (RFC 3339).
    computed_at: String,
    /// The experiment as it was planned.
    spec: ExperimentSpec,
    /// Which requests are compared.
    period: Period,
    /// How busy our device was meanwhile.
    load: Load,
    /// The decision.
    verdict: Decision,
    /// The baseline and the candidate, in this order.
    arms: Vec<ArmReport>,
    /// Other arms in the period. They are not compared.
    other_arms: Vec<ArmReport>,
    /// All arms before the period, among them earlier generations. They are not compared.
    earlier_arms: Vec<ArmReport>,
    /// The candidate against the baseline.
    comparison: Comparison,
    /// Limits on harms.
    guardrails: Vec<GuardrailReport>,
    /// From which volume our own arm is cheaper; `None` if not exactly one arm is our own.
    break_even: Option<BreakEvenReport>,
    /// How many units are still needed.
    plan: PlanReport,
    /// What judges cost, in US dollars. It is in no arm's cost.
    #[serde(serialize_with = "farthing_economics::exact_or_null")]
    judge_usd: Option<rust_decimal::Decimal>,
    /// What a reader must know.
    notes: Vec<String>,
    #[serde(skip)]
    to_decide: Option<DecidedVerdict>,
}

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// The specification is invalid.
    #[error("the experiment's specification: {0}")]
    Spec(#[from] SpecError),
    /// The ledger cannot be read.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The figures cannot be computed.
    #[error("the experiment's figures: {0}")]
    Statistics(#[from] ExperimentError),
}

impl Report {
    /// Computes the report as of `now_us`, in microseconds since 1970.
    ///
    /// # Errors
    /// The specification is invalid, or the ledger cannot be read.
    pub fn compute(
        ledger: &mut LedgerReader,
        spec: &ExperimentSpec,
        split: &Split,
        now_us: i64,
    ) -> Result<Self, ReportError> {
        spec.check()?;
        let (period, current) = Period::of(ledger, spec, split, now_us)?;
        let load = Load::of(ledger, &period)?;
        let mut collected = collect::collect(ledger, spec, &period)?;
        let pair = ArmPairRows::new(
            current.map(|arm| collected.take(&arm)),
            spec.design,
            load.factor,
        );
        let comparison = Comparison::of(&pair, spec)?;
        let decided = decision::Plan::of(spec, &pair).held(ledger)?;
        let verdict = Decision::of(&pair, spec, split, &comparison, decided)?;
        let to_decide = verdict.to_decide(&decision::Plan::of(spec, &pair), now_us);
        let earlier_arms = match period.earlier(spec)? {
            None => Vec::new(),
            Some(earlier) => {
                let load = Load::of(ledger, &earlier)?;
                let rows = collect::collect(ledger, spec, &earlier)?;
                ArmReport::of_others(rows.into_arms(), &load, spec)?
            }
        };
        let judge_usd = collected.judge_usd();
        let notes = period.notes().into_iter().chain(pair.notes());
        Ok(Self {
            version: 1,
            computed_at: time::rfc3339(now_us),
            arms: vec![
                ArmReport::of(&pair, 0, &load, spec)?,
                ArmReport::of(&pair, 1, &load, spec)?,
            ],
            other_arms: ArmReport::of_others(collected.into_arms(), &load, spec)?,
            earlier_arms,
            guardrails: guardrails::watch(&pair, spec, &comparison)?,
            break_even: BreakEvenReport::of(&pair, spec, &load, &period)?,
            plan: PlanReport::of(&pair, spec, split)?,
            judge_usd,
            spec: spec.clone(),
            period,
            load,
            verdict,
            comparison,
            notes: notes.collect(),
            to_decide,
        })
    }

    /// The verdict at a fixed horizon that is reached for the first time. It holds from now on, if it
    /// is recorded with [`Ledger::decide`](farthing_ledger::Ledger::decide).
    pub fn to_decide(&self) -> Option<&DecidedVerdict> {
        self.to_decide.as_ref()
    }

    /// The candidate arm must get no more traffic: a guardrail says so.
    pub fn must_roll_back(&self) -> bool {
        self.guardrails.iter().any(GuardrailReport::is_rolling_back)
    }

    /// Whether more units could decide it.
    fn is_undecided(&self) -> bool {
        let state = self.verdict.verdict.state;
        matches!(state, VerdictState::Collecting | VerdictState::Inconclusive)
    }

    /// For a terminal, in at most 100 columns.
    pub fn to_text(&self) -> String {
        text::render(self)
    }

    /// As one HTML file without external resources.
    pub fn to_html(&self) -> String {
        html::render(self)
    }
}
