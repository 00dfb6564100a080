//! Amounts by class of token. Each class has a price of its own.

use std::ops::AddAssign;

/// One amount for each class of token.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ByToken<T> {
    /// Tokens of prompts that were computed.
    pub input: T,
    /// Tokens of prompts that were found in the prefix cache.
    pub cached: T,
    /// Generated tokens.
    pub output: T,
}

/// Device seconds by class of token. `input` is the time to compute the uncached tokens of a prompt
/// and their attention to each other. `cached` is the time to read the keys and values of the cached
/// tokens for that. `output` is the time to compute and sample the generated tokens.
pub type TokenSeconds = ByToken<f64>;

/// Numbers of tokens by class. A token that is computed again after a preemption counts once.
pub type TokenCounts = ByToken<u64>;

impl TokenSeconds {
    /// The sum of all classes.
    pub fn total(&self) -> f64 {
        self.input + self.cached + self.output
    }
}

impl<T: AddAssign> AddAssign for ByToken<T> {
    fn add_assign(&mut self, other: Self) {
        self.input += other.input;
        self.cached += other.cached;
        self.output += other.output;
    }
}
