//! What something cost.

use std::fmt;

use rust_decimal::Decimal;

/// US dollars that something cost, with every digit that the decimal holds (28 significant ones).
///
/// Nothing is rounded on the way, so that costs can be added up; only showing one as text rounds,
/// to [`Cost::SHOWN_DIGITS`] digits after the point, half to even.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cost(Decimal);

/// Why there is no cost to tell.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
pub enum CostError {
    /// Time that was measured is finite and not negative.
    #[error("{0} is no duration: seconds must be finite and not negative")]
    NotADuration(f64),
    /// It is more money, or more time, than a decimal can hold.
    #[error("the cost of {0} seconds is out of range")]
    OutOfRange(f64),
}

/// Where the seconds of a cost come from.
/// Ordered from the most exact to the least.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Basis {
    /// The measured time of each step on the device, shared out over the step's sequences by what
    /// each had to do.
    #[default]
    MeasuredDeviceTime,
    /// The same, shared out by their new tokens: how long each kind of work takes is not known well
    /// enough.
    MeasuredDeviceTimeByTokens,
}

impl Cost {
    /// Digits after the point when a cost is shown: a microsecond at a cent an hour still shows.
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
