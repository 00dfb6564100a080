//! The cost of tokens as a function of utilization.

use rust_decimal::Decimal;

use crate::HourlyPrice;
use crate::workload::MILLION;

/// A machine that is paid by the hour, used or not. At utilization `U` a million tokens cost `C(U)
/// = C(1) / U`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CostCurve {
    price: HourlyPrice,
    tokens_per_second: Decimal,
}

const SECONDS_PER_HOUR: Decimal = Decimal::from_parts(3600, 0, 0, false, 0);
const HOURS_PER_DAY: Decimal = Decimal::from_parts(24, 0, 0, false, 0);

impl CostCurve {
    /// A machine with this capacity in tokens per second; `None` if it is 0.
    pub fn new(price: HourlyPrice, tokens_per_second: Decimal) -> Option<Self> {
        (tokens_per_second > Decimal::ZERO).then_some(Self {
            price,
            tokens_per_second,
        })
    }

    /// Tokens per second at full utilization.
    pub fn tokens_per_second(&self) -> Decimal {
        self.tokens_per_second
    }

    /// The utilization at this rate.
    pub fn utilization(&self, tokens_per_second: Decimal) -> Option<Decimal> {
        tokens_per_second.checked_div(self.tokens_per_second)
    }

    /// US dollars per million tokens at a utilization; `None` at 0, where the cost is unbounded.
    pub fn usd_per_million_at(&self, utilization: Decimal) -> Option<Decimal> {
        let carried = self
            .tokens_per_second
            .checked_mul(SECONDS_PER_HOUR)?
            .checked_mul(utilization)?;
        self.price.usd().checked_mul(MILLION)?.checked_div(carried)
    }

    /// Tokens per day of 24 hours from which on this machine is cheaper than a price per million
    /// tokens. With months of 730 hours and of 30 days the result would be 1.4 % higher.
    pub fn break_even_tokens_per_day(&self, usd_per_million: Decimal) -> Option<Decimal> {
        let usd_per_day = self.price.usd().checked_mul(HOURS_PER_DAY)?;
        usd_per_day
            .checked_mul(MILLION)?
            .checked_div(usd_per_million)
    }

    /// The utilization at which the machine costs as much; above 1 it never is cheaper.
    pub fn break_even_utilization(&self, usd_per_million: Decimal) -> Option<Decimal> {
        self.usd_per_million_at(Decimal::ONE)?
            .checked_div(usd_per_million)
    }
}
