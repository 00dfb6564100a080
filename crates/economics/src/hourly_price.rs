//! What a machine costs by the hour.

use std::str::FromStr;

use rust_decimal::Decimal;
use rust_decimal::prelude::FromPrimitive;

/// US dollars for one hour of the machine; zero or more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct HourlyPrice(Decimal);

/// Why something is no price.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum PriceError {
    /// It is not a decimal number.
    #[error("not a price in US dollars an hour: {0:?}; write it like 0.10")]
    NotANumber(String),
    /// It is negative, or so high that money could overflow.
    #[error("a price must be between 0 and 1000000 US dollars an hour, not {0}")]
    OutOfRange(Decimal),
}

const SECONDS_PER_HOUR: Decimal = Decimal::from_parts(3600, 0, 0, false, 0);
const HIGHEST: Decimal = Decimal::from_parts(1_000_000, 0, 0, false, 0);

/// Digits after the point of a cost: fine enough that the rounding of a microsecond's cost does
/// not show in a sum.
const COST_SCALE: u32 = 18;

impl HourlyPrice {
    /// A price of `usd` US dollars an hour.
    ///
    /// # Errors
    /// It is negative or above a million.
    pub fn new(usd: Decimal) -> Result<Self, PriceError> {
        if usd.is_sign_negative() && !usd.is_zero() || usd > HIGHEST {
            return Err(PriceError::OutOfRange(usd));
        }
        Ok(Self(usd))
    }

    /// US dollars an hour.
    pub fn usd(self) -> Decimal {
        self.0
    }

    /// US dollars for `seconds` of the machine. Seconds are measured, so 15 digits of them are
    /// enough; what is not a number of seconds (negative, infinite) costs nothing.
    pub fn cost_of(self, seconds: f64) -> Decimal {
        let seconds = Decimal::from_f64(seconds.clamp(0.0, 1e12)).unwrap_or_default();
        (seconds * self.0 / SECONDS_PER_HOUR)
            .round_dp(COST_SCALE)
            .normalize()
    }
}

impl FromStr for HourlyPrice {
    type Err = PriceError;

    fn from_str(text: &str) -> Result<Self, PriceError> {
        let usd = Decimal::from_str_exact(text.trim());
        Self::new(usd.map_err(|_| PriceError::NotANumber(text.to_owned()))?)
    }
}
