//! The three kinds of tokens that have prices of their own.

use std::ops::AddAssign;

/// Device seconds by the kind of token that they went to.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct TokenSeconds {
    /// Computing the prompt's tokens that were not in the prefix cache, and reading each other's
    /// keys and values.
    pub input: f64,
    /// Reading the keys and values of the prompt's cached tokens while the rest of the prompt is
    /// computed.
    pub cached: f64,
    /// Sampling and computing what was generated.
    pub output: f64,
}

/// How many tokens of each kind there were.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TokenCounts {
    /// Tokens of prompts that were computed. What a preemption makes to be computed again counts
    /// once.
    pub input: u64,
    /// Tokens of prompts that were found in the prefix cache.
    pub cached: u64,
    /// Tokens sampled.
    pub output: u64,
}

impl TokenSeconds {
    /// All three together.
    pub fn total(&self) -> f64 {
        self.input + self.cached + self.output
    }
}

impl AddAssign for TokenSeconds {
    fn add_assign(&mut self, other: Self) {
        self.input += other.input;
        self.cached += other.cached;
        self.output += other.output;
    }
}

impl AddAssign for TokenCounts {
    fn add_assign(&mut self, other: Self) {
        self.input += other.input;
        self.cached += other.cached;
        self.output += other.output;
    }
}
