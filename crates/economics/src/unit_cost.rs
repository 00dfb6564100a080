//! The cost of a million tokens of each class, in three figures.

use rust_decimal::Decimal;

use crate::{Cost, CostError, HourlyPrice};

/// The work of a machine in a span of time.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct MachineTime {
    /// The length of the span in seconds, all of which is paid.
    pub window_seconds: f64,
    /// Seconds of it in which the machine computed.
    pub busy_seconds: f64,
    /// Tokens of prompts that were computed.
    pub input: TokenWork,
    /// Tokens of prompts that were found in the prefix cache.
    pub cached: TokenWork,
    /// Tokens that were generated.
    pub output: TokenWork,
}

/// The tokens of one class, and their share of the busy seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct TokenWork {
    /// The number of tokens.
    pub tokens: u64,
    /// Device seconds.
    pub seconds: f64,
}

/// US dollars per million tokens of one class. `None` is unknown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UnitCost {
    /// The cost of the time in which they were computed.
    pub busy: Option<Cost>,
    /// The same with the rest of the window shared out in proportion.
    pub loaded: Option<Cost>,
    /// The cost at the capacity of the machine within its service level.
    pub at_capacity: Option<Cost>,
}

/// [`UnitCost`] of each token class.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct UnitCosts {
    /// Computed prompt tokens.
    pub input: UnitCost,
    /// Cached prompt tokens.
    pub cached: UnitCost,
    /// Generated tokens.
    pub output: UnitCost,
    /// Tokens of all classes in the measured mix.
    pub all: UnitCost,
}

const MILLION: Decimal = Decimal::from_parts(1_000_000, 0, 0, false, 0);

impl MachineTime {
    /// The cost of a million tokens of each class at `price`. `slo_tokens_per_second` is the
    /// capacity of the machine within its service level, in tokens of all classes; their mix is
    /// that of the window.
    ///
    /// # Errors
    /// A number of seconds is not finite or negative, or a cost is out of the range of a decimal.
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
                // Dividing last keeps round results exact.
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

    /// The share of the window in which the machine computed; `None` for an empty window.
    pub fn busy_share(&self) -> Option<f64> {
        (self.window_seconds > 0.0).then(|| self.busy_seconds / self.window_seconds)
    }

    /// The factor from busy to loaded cost; `None` if nothing was computed.
    pub fn load_factor(&self) -> Option<f64> {
        (self.busy_seconds > 0.0).then(|| self.window_seconds / self.busy_seconds)
    }

    /// The factor from busy cost to the cost at capacity; `None` if nothing was computed.
    pub fn capacity_factor(&self, slo_tokens_per_second: f64) -> Option<f64> {
        let seconds = self.tokens() as f64 / slo_tokens_per_second;
        (self.busy_seconds > 0.0).then(|| seconds / self.busy_seconds)
    }

    /// Tokens of all classes.
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
