//! Compares the results of one kind of row.

use std::fmt;

use farthing_scheduler::{SampledToken, TokenLogprobs};
use serde::Serialize;

use farthing_model::ComputeType;

/// Results of one kind of row.
#[derive(Clone, Debug, Serialize)]
pub struct ModelCheck {
    /// The kind of row.
    pub case: &'static str,
    /// Type of weights and cache.
    pub compute_type: String,
    /// Tokens chosen by both sides.
    pub tokens: usize,
    /// Tokens that differ.
    pub different_tokens: usize,
    /// Log-probabilities returned by both sides.
    pub logprobs: usize,
    /// Mean difference of log-probabilities.
    pub mean_drift: f64,
    /// 99th percentile of the differences.
    pub p99_drift: f64,
    /// Why the sides do not agree.
    pub failure: Option<String>,
}

/// How far two correct results may differ.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// If the reference's two most likely tokens are closer than this, rounding may decide between
    /// them.
    clear_gap: f32,
    mean_drift: f64,
    p99_drift: f64,
    /// Fraction of sampled tokens that may differ: a random number near the boundary of two tokens
    /// may give either.
    different_draws: f64,
}

impl Bounds {
    pub(super) fn of(compute_type: ComputeType) -> Self {
        match compute_type {
            // One side may round activations to 16 bits after every operation, the other never
            // does.
            ComputeType::Bf16 => Self {
                clear_gap: 0.5,
                mean_drift: 0.06,
                p99_drift: 0.3,
                different_draws: 0.34,
            },
            // Sums in another order.
            ComputeType::F32 => Self {
                clear_gap: 1e-3,
                mean_drift: 2e-5,
                p99_drift: 1e-4,
                different_draws: 0.1,
            },
        }
    }
}

/// The results of both sides for one row.
pub(super) struct Observation {
    choice: Option<Choice>,
    drifts: Vec<f64>,
}

struct Choice {
    differs: bool,
    /// The gap between the reference's two most likely tokens, for greedy rows.
    gap: Option<f32>,
}

impl Observation {
    pub(super) fn new(found: &SampledToken, expected: &SampledToken, is_greedy: bool) -> Self {
        let gap = |logprobs: &TokenLogprobs| match logprobs.top.as_slice() {
            [first, second, ..] => first.logprob - second.logprob,
            _ => 0.0,
        };
        let choice = expected.token.map(|token| Choice {
            differs: found.token != Some(token),
            gap: expected.logprobs.as_ref().filter(|_| is_greedy).map(gap),
        });
        let mut drifts = Vec::new();
        let expected_logprobs = expected.prompt_logprobs.iter().chain(&expected.logprobs);
        let mut found_logprobs = found.prompt_logprobs.iter().chain(&found.logprobs);
        for expected in expected_logprobs {
            match found_logprobs.next() {
                Some(found) => drifts.extend(drifts_of(found, expected)),
                None => drifts.push(f64::INFINITY),
            }
        }
        Self { choice, drifts }
    }
}

/// The differences of all log-probabilities that both sides return. For a token that only the
/// reference returns, the other side's last one is an upper bound.
fn drifts_of(found: &TokenLogprobs, expected: &TokenLogprobs) -> impl Iterator<Item = f64> {
    let logprobs = std::iter::once(&expected.chosen).chain(&expected.top);
    logprobs.filter_map(|expected| {
        let mut all = std::iter::once(&found.chosen).chain(&found.top);
        let same = all.find(|it| it.token == expected.token);
        let drift = match same {
            Some(same) => (same.logprob - expected.logprob).abs(),
            None => (expected.logprob - found.top.last()?.logprob).max(0.0),
        };
        Some(f64::from(drift))
    })
}

/// The rows of one kind so far.
pub(super) struct Case {
    name: &'static str,
    compute_type: ComputeType,
    bounds: Bounds,
    choices: usize,
    draws: usize,
    different_choices: usize,
    different_draws: usize,
    /// The widest gap at which both sides chose different tokens.
    widest_gap: Option<f32>,
    drifts: Vec<f64>,
}

impl Case {
    /// With fewer tokens of a kind the comparison is not meaningful.
    const LEAST_TOKENS: usize = 5;

    pub(super) fn new(name: &'static str, compute_type: ComputeType) -> Self {
        Self {
            name,
            compute_type,
            bounds: Bounds::of(compute_type),
            choices: 0,
            draws: 0,
            different_choices: 0,
            different_draws: 0,
            widest_gap: None,
            drifts: Vec::new(),
        }
    }

    pub(super) fn name(&self) -> &'static str {
        self.name
    }

    pub(super) fn add(&mut self, observation: &Observation) {
        if let Some(choice) = &observation.choice {
            let differs = usize::from(choice.differs);
            match choice.gap {
                Some(gap) => {
                    self.choices += 1;
                    self.different_choices += differs;
                    if choice.differs {
                        self.widest_gap = Some(self.widest_gap.map_or(gap, |it| it.max(gap)));
                    }
                }
                None => {
                    self.draws += 1;
                    self.different_draws += differs;
                }
            }
        }
        self.drifts.extend(&observation.drifts);
    }

    pub(super) fn finish(mut self) -> ModelCheck {
        self.drifts.sort_by(f64::total_cmp);
        let count = self.drifts.len();
        let mean = self.drifts.iter().sum::<f64>() / count.max(1) as f64;
        let p99 = self.drifts.get(count * 99 / 100).copied().unwrap_or(0.0);
        ModelCheck {
            case: self.name,
            compute_type: self.compute_type.to_string(),
            tokens: self.choices + self.draws,
            different_tokens: self.different_choices + self.different_draws,
            logprobs: count,
            mean_drift: mean,
            p99_drift: p99,
            failure: self.failure(mean, p99),
        }
    }

    fn failure(&self, mean: f64, p99: f64) -> Option<String> {
        let Bounds {
            clear_gap,
            mean_drift,
            p99_drift,
            different_draws,
        } = self.bounds;
        let tokens = self.choices + self.draws;
        let drawn_differently = self.different_draws as f64 / self.draws.max(1) as f64;
        if tokens < Self::LEAST_TOKENS {
            Some(format!("only {tokens} tokens: the script lacks such rows"))
        } else if let Some(gap) = self.widest_gap.filter(|gap| *gap >= clear_gap) {
            Some(format!(
                "another token at a gap of {gap:.2}, where {clear_gap} is clear"
            ))
        } else if drawn_differently > different_draws {
            Some(format!(
                "{} of {} draws differ",
                self.different_draws, self.draws
            ))
        } else if mean.is_nan() || mean > mean_drift {
            Some(format!("mean drift above {mean_drift:.0e}"))
        } else if p99.is_nan() || p99 > p99_drift {
            Some(format!("p99 drift above {p99_drift:.0e}"))
        } else {
            None
        }
    }
}

impl ModelCheck {
    pub(super) const HEADING: &str = "rows                                tokens   other   logprobs   mean drift   p99 drift   result";

    /// Whether the results agree.
    pub fn passed(&self) -> bool {
        self.failure.is_none()
    }
}

impl fmt::Display for ModelCheck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:<35} {:>6} {:>7} {:>10} {:>12.1e} {:>11.1e}   {}",
            self.case,
            self.tokens,
            self.different_tokens,
            self.logprobs,
            self.mean_drift,
            self.p99_drift,
            self.failure.as_deref().unwrap_or("ok")
        )
    }
}
