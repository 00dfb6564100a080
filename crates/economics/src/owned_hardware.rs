//! The price per hour of a machine that is bought, not rented.

use rust_decimal::Decimal;

use crate::{HourlyPrice, PriceError};

/// Hours per month, as cloud vendors count: a twelfth of a year.
pub const HOURS_PER_MONTH: Decimal = Decimal::from_parts(730, 0, 0, false, 0);

/// The cost of a bought GPU, with its share of everything around it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OwnedHardware {
    /// Purchase price in US dollars.
    pub capital_usd: Decimal,
    /// Resale price in US dollars.
    pub residual_usd: Decimal,
    /// Months between purchase and resale, of 730 hours each.
    pub life_months: Decimal,
    /// Power in kilowatts.
    pub power_kw: Decimal,
    /// Power usage effectiveness: power at the meter divided by power at the machine; at least 1.
    pub pue: Decimal,
    /// US dollars per kilowatt-hour.
    pub usd_per_kwh: Decimal,
    /// US dollars per month for colocation.
    pub colocation_usd_per_month: Decimal,
    /// US dollars per month for support and spare parts.
    pub support_usd_per_month: Decimal,
}

/// Why hardware has no price per hour.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum OwnedHardwareError {
    /// A figure is out of its range.
    #[error("{0}")]
    Impossible(&'static str),
    /// The resulting price is invalid.
    #[error(transparent)]
    Price(#[from] PriceError),
    /// The amount of money is above the range of a decimal.
    #[error("the price of an hour is out of range")]
    OutOfRange,
}

impl OwnedHardware {
    /// The price per hour: capital spread over the machine's life, power at the meter, colocation
    /// and support.
    ///
    /// # Errors
    /// A figure is negative, the life is zero, the residual exceeds the capital, or PUE is below 1.
    pub fn per_hour(&self) -> Result<HourlyPrice, OwnedHardwareError> {
        use OwnedHardwareError::{Impossible, OutOfRange};

        let not_negative = [
            self.capital_usd,
            self.residual_usd,
            self.power_kw,
            self.usd_per_kwh,
            self.colocation_usd_per_month,
            self.support_usd_per_month,
        ];
        if not_negative
            .iter()
            .any(|figure| figure.is_sign_negative() && !figure.is_zero())
        {
            return Err(Impossible("costs of hardware cannot be negative"));
        }
        if self.life_months <= Decimal::ZERO {
            return Err(Impossible(
                "the life of hardware must be longer than 0 months",
            ));
        }
        if self.residual_usd > self.capital_usd {
            return Err(Impossible("the residual value cannot exceed the capital"));
        }
        if self.pue < Decimal::ONE {
            return Err(Impossible(
                "PUE must be at least 1: power at the meter divided by power at the machine",
            ));
        }
        let per_hour = || {
            let hours = self.life_months.checked_mul(HOURS_PER_MONTH)?;
            let capital = (self.capital_usd - self.residual_usd).checked_div(hours)?;
            let power = self
                .power_kw
                .checked_mul(self.pue)?
                .checked_mul(self.usd_per_kwh)?;
            let monthly = self
                .colocation_usd_per_month
                .checked_add(self.support_usd_per_month)?;
            capital
                .checked_add(power)?
                .checked_add(monthly / HOURS_PER_MONTH)
        };
        Ok(HourlyPrice::new(per_hour().ok_or(OutOfRange)?)?)
    }
}
