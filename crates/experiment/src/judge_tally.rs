//! Verdicts of an LLM judge on pairs of answers.

use farthing_economics::statistics::Interval;

use crate::error::ExperimentError;
use crate::newcombe::Proportion;

/// The answer that a judge prefers, by the place in which it was shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Preference {
    /// The one shown first.
    First,
    /// The one shown second.
    Second,
    /// Neither.
    Tie,
}

/// The outcome of one pair after both orders.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PairOutcome {
    /// The baseline's answer was preferred in both orders.
    Baseline,
    /// The candidate's answer was preferred in both orders.
    Candidate,
    /// A tie in both orders.
    Tie,
    /// The two orders contradict each other. It counts as a tie.
    Inconsistent,
}

impl PairOutcome {
    /// Joins the verdicts of both orders. An answer wins only if it wins in both.
    pub const fn of(baseline_first: Preference, candidate_first: Preference) -> Self {
        match (baseline_first, candidate_first) {
            (Preference::First, Preference::Second) => Self::Baseline,
            (Preference::Second, Preference::First) => Self::Candidate,
            (Preference::Tie, Preference::Tie) => Self::Tie,
            _ => Self::Inconsistent,
        }
    }
}

/// The outcomes of many pairs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct JudgeTally {
    /// Pairs that the baseline won.
    pub baseline: u64,
    /// Pairs that the candidate won.
    pub candidate: u64,
    /// Ties in both orders.
    pub ties: u64,
    /// Pairs with contradicting verdicts.
    pub inconsistent: u64,
}

impl JudgeTally {
    /// Counts a pair.
    pub const fn add(&mut self, outcome: PairOutcome) {
        match outcome {
            PairOutcome::Baseline => self.baseline += 1,
            PairOutcome::Candidate => self.candidate += 1,
            PairOutcome::Tie => self.ties += 1,
            PairOutcome::Inconsistent => self.inconsistent += 1,
        }
    }

    /// Adds another part of the same experiment.
    pub const fn merge(&mut self, other: &Self) {
        self.baseline += other.baseline;
        self.candidate += other.candidate;
        self.ties += other.ties;
        self.inconsistent += other.inconsistent;
    }

    /// All pairs.
    pub const fn pairs(&self) -> u64 {
        self.baseline + self.candidate + self.ties + self.inconsistent
    }

    /// The pairs whose two verdicts agree. Publish it beside any win rate: a judge that follows the
    /// order of the answers has little of it.
    pub const fn consistency(&self) -> Proportion {
        Proportion {
            successes: self.pairs() - self.inconsistent,
            trials: self.pairs(),
        }
    }

    /// The pairs that the candidate won, of those that one side won.
    pub const fn wins(&self) -> Proportion {
        Proportion {
            successes: self.candidate,
            trials: self.candidate + self.baseline,
        }
    }

    /// Wilson's interval of the win rate as judged, if the pairs are independent and looked at once.
    /// It does not include the judge's own errors.
    ///
    /// # Errors
    /// Neither side won a pair, or the confidence is not between 0 and 1.
    pub fn win_interval(&self, confidence: f64) -> Result<Interval, ExperimentError> {
        self.wins().interval(confidence)
    }
}
