//! The statistics of A/B experiments.
//!
//! Rows become sums per assignment unit ([`Arm`], [`UnitValues`]), those become figures with errors
//! ([`Estimate`]), and those become intervals under a rule of looking ([`Inference`]). Dollars per
//! accepted answer, for example, is an arm whose numerators are dollars and whose denominators are
//! accepted answers. Verdicts are [`VerdictRule`], [`Guardrail`] and [`BreakEven`].
//!
//! Everything is pure: the same rows give the same answer. No result is NaN or infinite: what can't
//! be computed is an [`ExperimentError`].
//!
//! Money is a float here, because its error is far larger than its last digit.

mod error;
mod figure;

mod inference;
mod normal_mixture;
mod sample_size;
mod student;

mod arm;
mod arm_pair;
mod clustered_bootstrap;
mod estimate;
mod newcombe;
mod unit_values;

mod holm;
mod planner;
mod sample_ratio;

mod judge_calibration;
mod judge_tally;

mod break_even;
mod fieller;
mod guardrail;
mod verdict;

pub use arm::{Arm, UnitSums};
pub use arm_pair::ArmPair;
pub use break_even::{BreakEven, CheaperSide, FixedCost};
pub use clustered_bootstrap::{ClusteredBootstrap, QuantileDifference};
pub use error::ExperimentError;
pub use estimate::Estimate;
pub use guardrail::{Guardrail, GuardrailAction, GuardrailStatus};
pub use holm::holm;
pub use inference::{Inference, Sides};
pub use judge_calibration::{CorrectedShare, JudgeCalibration, JudgedShare};
pub use judge_tally::{JudgeTally, PairOutcome, Preference};
pub use newcombe::{Proportion, newcombe_interval};
pub use normal_mixture::NormalMixture;
pub use planner::{Looks, Plan, Planner, UnitSpread};
pub use sample_ratio::SampleRatio;
pub use sample_size::SampleSize;
pub use unit_values::UnitValues;
pub use verdict::{Assignment, Evidence, Purpose, Shown, State, Verdict, VerdictRule};
