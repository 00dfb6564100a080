//! What tokens cost by how much of the machine they use.

use rust_decimal::Decimal;

use crate::HourlyPrice;
use crate::workload::MILLION;

/// A machine that is paid for by the hour, whether or not it is used: at a share `U` of what it
/// carries, a million tokens cost `C(U) = C(1) / U`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CostCurve {
    price: HourlyPrice,
    tokens_per_second: Decimal,
}

const SECONDS_PER_HOUR: Decimal = Decimal::from_parts(3600, 0, 0, false, 0);
const HOURS_PER_DAY: Decimal = Decimal::from_parts(24, 0, 0, false, 0);

impl CostCurve {
    /// Of a machine that carries so many tokens a second at most; `None` where it carries none.
    pub fn new(price: HourlyPrice, tokens_per_second: Decimal) -> Option<Self> {
        (tokens_per_second > Decimal::ZERO).then_some(Self {
            price,
            tokens_per_second,
        })
    }

    /// Tokens a second at full use.
    pub fn tokens_per_second(&self) -> Decimal {
        self.tokens_per_second
    }

    /// The share of the machine that `tokens_per_second` uses.
    pub fn utilization(&self, tokens_per_second: Decimal) -> Option<Decimal> {
        tokens_per_second.checked_div(self.tokens_per_second)
    }

    /// US dollars per million tokens where the share `utilization` of the machine is used; `None`
    /// for no use at all, which costs without bound.
    pub fn usd_per_million_at(&self, utilization: Decimal) -> Option<Decimal> {
        let carried = self
            .tokens_per_second
            .checked_mul(SECONDS_PER_HOUR)?
            .checked_mul(utilization)?;
        self.price.usd().checked_mul(MILLION)?.checked_div(carried)
    }

    /// Tokens a day, of 24 hours, from which on this machine is cheaper than a price per million
    /// tokens. The price of a month over the price of its tokens is 1.4 % more where a month is 730
    /// hours and 30 days.
    pub fn break_even_tokens_per_day(&self, usd_per_million: Decimal) -> Option<Decimal> {
        let usd_per_day = self.price.usd().checked_mul(HOURS_PER_DAY)?;
        usd_per_day
            .checked_mul(MILLION)?
            .checked_div(usd_per_million)
    }

    /// The share of the machine that has to be used for that; above 1 it never is cheaper.
    pub fn break_even_utilization(&self, usd_per_million: Decimal) -> Option<Decimal> {
        self.usd_per_million_at(Decimal::ONE)?
            .checked_div(usd_per_million)
    }
}
