//! An amount of money.

use std::fmt;

use rust_decimal::Decimal;

/// US dollars with every digit that a decimal holds (28 significant ones).
///
/// Costs are never rounded when they are added. Only the text form rounds, to
/// [`Cost::SHOWN_DIGITS`] digits after the point, half to even.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cost(Decimal);

/// Why a cost cannot be computed.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
pub enum CostError {
    /// A measured time must be finite and not negative.
    #[error("invalid duration of {0} seconds: expected a finite number that is not negative")]
    NotADuration(f64),
    /// The amount of money or time is above the range of a decimal.
    #[error("the cost of {0} seconds is out of range")]
    OutOfRange(f64),
}

/// How the seconds of a cost were measured, from the most exact to the least.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Basis {
    /// The measured device time of each step, split among the step's sequences by their work.
    #[default]
    MeasuredDeviceTime,
    /// The same, split by new tokens, because the time of each kind of work is not known well
    /// enough.
    MeasuredDeviceTimeByTokens,
}

impl Cost {
    /// Digits after the point when a cost is shown: enough for a microsecond at a cent per hour.
    pub const SHOWN_DIGITS: u32 = 12;

    pub(crate) fn new(usd: Decimal) -> Self {
        Self(usd.normalize())
    }

    /// US dollars, exact.
    pub fn usd(self) -> Decimal {
        self.0
    }
}

impl fmt::Display for Cost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // `round_dp` rounds half to even.
        write!(f, "{}", self.0.round_dp(Self::SHOWN_DIGITS).normalize())
    }
}

impl Basis {
    /// Its name on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::MeasuredDeviceTime => "measured_device_time",
            Self::MeasuredDeviceTimeByTokens => "measured_device_time_by_tokens",
        }
    }
}
