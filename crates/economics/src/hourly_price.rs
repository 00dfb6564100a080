//! The price of a machine per hour.

use std::str::FromStr;

use rust_decimal::Decimal;

use crate::{Cost, CostError};

/// US dollars per hour of the machine; zero or more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct HourlyPrice(Decimal);

/// Why a price is invalid.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum PriceError {
    /// It is not a decimal number.
    #[error("invalid price {0:?}: expected US dollars per hour, for example 0.10")]
    NotANumber(String),
    /// It is negative, or so high that money could overflow.
    #[error("price {0} out of range: expected 0 to 1000000 US dollars per hour")]
    OutOfRange(Decimal),
}

const SECONDS_PER_HOUR: Decimal = Decimal::from_parts(3600, 0, 0, false, 0);
const HIGHEST: Decimal = Decimal::from_parts(1_000_000, 0, 0, false, 0);

impl HourlyPrice {
    /// A price of `usd` US dollars per hour.
    ///
    /// # Errors
    /// It is negative or above a million.
    pub fn new(usd: Decimal) -> Result<Self, PriceError> {
        if usd.is_sign_negative() && !usd.is_zero() || usd > HIGHEST {
            return Err(PriceError::OutOfRange(usd));
        }
        Ok(Self(usd))
    }

    /// US dollars per hour.
    pub fn usd(self) -> Decimal {
        self.0
    }

    /// The cost of `seconds` of the machine. The seconds count as the shortest decimal that reads
    /// back as the same float. JSON shows that decimal too, so a reader who multiplies gets the
    /// same cost.
    ///
    /// # Errors
    /// The seconds are negative or not finite, or the cost is out of a decimal's range.
    pub fn cost_of(self, seconds: f64) -> Result<Cost, CostError> {
        if !seconds.is_finite() || seconds < 0.0 {
            return Err(CostError::NotADuration(seconds));
        }
        let usd = seconds
            .to_string()
            .parse::<Decimal>()
            .ok()
            .and_then(|seconds| seconds.checked_mul(self.0))
            .ok_or(CostError::OutOfRange(seconds))?;
        Ok(Cost::new(usd / SECONDS_PER_HOUR))
    }

    /// The cost of `seconds` of the machine in US dollars; negative seconds are a credit. Even a
    /// year at the highest price is far below the range of a decimal.
    pub fn usd_for(self, seconds: Decimal) -> Decimal {
        (seconds * self.0 / SECONDS_PER_HOUR).normalize()
    }
}

impl FromStr for HourlyPrice {
    type Err = PriceError;

    fn from_str(text: &str) -> Result<Self, PriceError> {
        let usd = Decimal::from_str_exact(text.trim());
        Self::new(usd.map_err(|_| PriceError::NotANumber(text.to_owned()))?)
    }
}
