//! Errors of the cost calculation.

use rust_decimal::Decimal;

use crate::TokenClass;

/// Why the figures cannot be computed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TcoError {
    /// The mix has tokens of a class without a rate.
    #[error("price of {0} tokens missing")]
    MissingRate(TokenClass),
    /// GPUs without a price.
    #[error("GPU price missing")]
    MissingGpuPrice,
    /// A price without GPUs.
    #[error("GPU count missing")]
    MissingGpus,
    /// A figure is out of its range.
    #[error("{what} must be {range}, not {value}")]
    OutOfRange {
        /// The figure.
        what: &'static str,
        /// The permitted range.
        range: &'static str,
        /// The given value.
        value: Decimal,
    },
    /// A result is out of the range of a decimal.
    #[error("a figure is too large or too small")]
    Overflow,
}
