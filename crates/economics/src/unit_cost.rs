//! What a million tokens of each kind cost, in three figures.

use rust_decimal::Decimal;

use crate::{Cost, CostError, HourlyPrice};

/// What a machine did in some time.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct MachineTime {
    /// Seconds that the machine was paid for.
    pub window_seconds: f64,
    /// Of them, seconds in which it computed.
    pub busy_seconds: f64,
    /// Tokens of prompts that were computed.
    pub input: TokenWork,
    /// Tokens of prompts that were found in the prefix cache.
    pub cached: TokenWork,
    /// Tokens that were generated.
    pub output: TokenWork,
}

/// Tokens of one kind, and what of the busy seconds went to them.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct TokenWork {
    /// How many.
    pub tokens: u64,
    /// Device seconds.
    pub seconds: f64,
}

/// US dollars per million tokens of one kind. A figure is absent where it is not known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UnitCost {
    /// Of the time in which they were computed.
    pub busy: Option<Cost>,
    /// With the rest of the window, shared out in proportion to that.
    pub loaded: Option<Cost>,
    /// As if the machine carried all that it can within its service level.
    pub at_capacity: Option<Cost>,
}

/// [`UnitCost`] of the three kinds of tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UnitCosts {
    /// Prompt tokens computed.
    pub input: UnitCost,
    /// Prompt tokens from the cache.
    pub cached: UnitCost,
    /// Generated tokens.
    pub output: UnitCost,
    /// Tokens of all kinds, as they were mixed.
    pub all: UnitCost,
}

const MILLION: Decimal = Decimal::from_parts(1_000_000, 0, 0, false, 0);

impl MachineTime {
    /// What a million tokens of each kind cost at `price`. `slo_tokens_per_second` is how many
    /// tokens of all kinds the machine carries within its service level; at capacity it carries
    /// them in the same proportions as in this window.
    ///
    /// # Errors
    /// A number of seconds is no duration, or a cost is out of a decimal's range.
    pub fn unit_costs(
        &self,
        price: HourlyPrice,
        slo_tokens_per_second: Option<f64>,
    ) -> Result<UnitCosts, CostError> {
        let at_capacity = slo_tokens_per_second.map(|rate| self.tokens() as f64 / rate);
        let unit_cost = |work: &TokenWork| {
            let per_million = |of_seconds: f64| -> Result<Option<Cost>, CostError> {
                if work.tokens == 0 || self.busy_seconds <= 0.0 {
                    return Ok(None);
                }
                let all = price.cost_of(of_seconds)?.usd();
                // Divided last, so that what comes out even stays so.
                let usd = all
                    .checked_mul(decimal(work.seconds)?)
                    .and_then(|usd| usd.checked_mul(MILLION))
                    .zip(decimal(self.busy_seconds)?.checked_mul(Decimal::from(work.tokens)))
                    .and_then(|(usd, by)| usd.checked_div(by));
                usd.map(Cost::new)
                    .map(Some)
                    .ok_or(CostError::OutOfRange(of_seconds))
            };
            Ok(UnitCost {
                busy: per_million(self.busy_seconds)?,
                loaded: per_million(self.window_seconds)?,
                at_capacity: match at_capacity {
                    Some(seconds) => per_million(seconds)?,
                    None => None,
                },
            })
        };
        Ok(UnitCosts {
            input: unit_cost(&self.input)?,
            cached: unit_cost(&self.cached)?,
            output: unit_cost(&self.output)?,
            all: unit_cost(&TokenWork {
                tokens: self.tokens(),
                seconds: self.input.seconds + self.cached.seconds + self.output.seconds,
            })?,
        })
    }

    /// The share of the window in which the machine computed; none for an empty window.
    pub fn busy_share(&self) -> Option<f64> {
        (self.window_seconds > 0.0).then(|| self.busy_seconds / self.window_seconds)
    }

    /// How much dearer a second is with the rest of the window shared out; none while nothing was
    /// computed.
    pub fn load_factor(&self) -> Option<f64> {
        (self.busy_seconds > 0.0).then(|| self.window_seconds / self.busy_seconds)
    }

    /// How much dearer a second is if the machine carries all that it can within its service level;
    /// none while nothing was computed.
    pub fn capacity_factor(&self, slo_tokens_per_second: f64) -> Option<f64> {
        let seconds = self.tokens() as f64 / slo_tokens_per_second;
        (self.busy_seconds > 0.0).then(|| seconds / self.busy_seconds)
    }

    /// Tokens of all kinds.
    pub fn tokens(&self) -> u64 {
        self.input.tokens + self.cached.tokens + self.output.tokens
    }
}

/// The shortest decimal that reads back as the same float.
fn decimal(seconds: f64) -> Result<Decimal, CostError> {
    seconds
        .to_string()
        .parse()
        .map_err(|_| CostError::NotADuration(seconds))
}
