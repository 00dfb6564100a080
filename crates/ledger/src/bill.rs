//! Exact bills as integers.

use rust_decimal::Decimal;

/// A bill, or a sum of bills, in US dollars with 18 decimal places. It is stored as whole
/// nanodollars and the attodollars beyond, so that sums are exact in any order and in both
/// databases.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Bill {
    pub nanos: i64,
    /// Less than a nanodollar in a single bill. In a sum it may be more.
    pub attos: i64,
}

const SCALE: u32 = 18;
/// Attodollars in a nanodollar.
const NANO: i128 = 1_000_000_000;

impl Bill {
    /// `None` if the bill is negative, or above 9 billion dollars.
    pub(crate) fn of_usd(usd: Decimal) -> Option<Self> {
        let usd = usd.round_dp(SCALE).normalize();
        let factor = 10_i128.pow(SCALE - usd.scale());
        let attos = usd.mantissa().checked_mul(factor)?;
        if attos < 0 {
            return None;
        }
        Some(Self {
            nanos: i64::try_from(attos / NANO).ok()?,
            attos: (attos % NANO) as i64,
        })
    }

    /// In US dollars, exact. A sum beyond the range of decimals (79 billion) becomes the largest
    /// decimal.
    pub(crate) fn usd(self) -> Decimal {
        let attos = i128::from(self.nanos) * NANO + i128::from(self.attos);
        let usd = Decimal::try_from_i128_with_scale(attos, SCALE);
        usd.map_or(Decimal::MAX, |usd| usd.normalize())
    }
}

#[cfg(test)]
mod tests;
