//! How a step was split.

/// How the seconds of a step are split among its rows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum SplitBasis {
    /// By the time that the step model predicts for each row.
    #[default]
    StepModel,
    /// By the number of new tokens, because the model explains too little or does not cover such a
    /// step.
    Tokens,
}
