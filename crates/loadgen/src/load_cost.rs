//! The cost of a load's tokens.
//!
//! A server that meters itself (Farthing) reports the device seconds of each class of token, so
//! that the prices add up to the window's total. For another server only time and price are known:
//! each computed token gets the same share.

use farthing_api::ByToken;
use farthing_economics::statistics::{Interval, MovingBlockBootstrap};
use farthing_economics::{
    Cost, CostError, HourlyPrice, MachineTime, TokenWork, exact, exact_or_null,
};
use rust_decimal::Decimal;
use serde::Serialize;

use crate::figures::{Figures, output_tokens};
use crate::meter::MeterReading;
use crate::record::Record;
use crate::window::Window;

/// Cost of a load's measured window in US dollars, in total and per million tokens.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LoadCost {
    /// How the cost is split among the classes.
    pub split: CostSplit,
    /// Fraction of the metered device seconds that the server split by tokens, because its step
    /// model explained too little; `None` if the server does not report it.
    pub split_by_tokens_share: Option<f64>,
    /// Price of the machine.
    #[serde(serialize_with = "exact")]
    pub price_per_hour_usd: Decimal,
    /// Seconds paid for.
    pub window_seconds: f64,
    /// Their cost.
    #[serde(serialize_with = "exact")]
    pub usd: Decimal,
    /// Fraction of these seconds in which the server computed, if reported.
    pub busy_share: Option<f64>,
    /// Computed prompt tokens.
    pub input: ClassCost,
    /// Prompt tokens from the server's cache.
    pub cached: ClassCost,
    /// Output tokens.
    pub output: ClassCost,
    /// Cost per million tokens of all classes.
    #[serde(serialize_with = "exact_or_null")]
    pub usd_per_million_tokens: Option<Decimal>,
    /// Cost per answer.
    #[serde(serialize_with = "exact_or_null")]
    pub usd_per_request: Option<Decimal>,
    /// Relative difference between prices times tokens and the window's cost.
    pub residual: f64,
    /// How the confidence intervals were computed.
    pub bootstrap: Option<BootstrapCard>,
}

/// Cost of one class of token.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct ClassCost {
    /// Number of tokens in the window.
    pub tokens: f64,
    /// US dollars per million tokens, including the window's idle time; `None` if there were no
    /// tokens or the cost is unknown.
    #[serde(serialize_with = "exact_or_null")]
    pub usd_per_million: Option<Decimal>,
    /// Confidence interval at 95 %.
    pub interval: Option<Interval>,
    /// The same without the time in which the server did not compute, if reported: the cost on a
    /// fully used machine.
    #[serde(serialize_with = "exact_or_null")]
    pub busy_usd_per_million: Option<Decimal>,
}

/// How the cost is split among classes of token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum CostSplit {
    /// By the device seconds of each class, as metered by the server.
    MeteredByServer,
    /// Evenly among all computed tokens. This is an assumption, because no more is known from
    /// outside. Cached tokens cost nothing.
    EvenlyByToken,
}

impl LoadCost {
    /// A description of the split.
    pub fn split_description(&self) -> String {
        let split = self.split.description();
        match self.split_by_tokens_share {
            Some(share) if share > 0.0 => format!(
                "{split}, of which it split {:.0} % by tokens: its step model explained too little",
                (100.0 * share).max(1.0)
            ),
            _ => split.to_owned(),
        }
    }
}

impl CostSplit {
    /// A description.
    fn description(self) -> &'static str {
        match self {
            Self::MeteredByServer => "split by the device seconds that the server metered",
            Self::EvenlyByToken => {
                "split evenly among computed tokens (an assumption: the server does not report time by \
                 class)"
            }
        }
    }
}

/// How confidence intervals were computed.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct BootstrapCard {
    /// Always 0.95.
    pub confidence: f64,
    /// Number of time slices.
    pub slices: usize,
    /// Length of a slice in seconds.
    pub slice_seconds: f64,
    /// Slices per block. A block is at least as long as an answer, because slices within that time
    /// are correlated.
    pub block_slices: usize,
    /// Number of resamples.
    pub resamples: usize,
}

const CONFIDENCE: f64 = 0.95;
const RESAMPLES: usize = 2000;
/// With fewer slices there is no interval.
const LEAST_SLICES: usize = 20;
const SLICES: usize = 60;

/// The data from which the cost is computed.
pub(crate) struct CostBasis<'a> {
    pub records: &'a [Record],
    pub readings: &'a [MeterReading],
    pub window: &'a Window,
    pub figures: &'a Figures,
    pub seed: u64,
}

impl CostBasis<'_> {
    /// Uses the server's meter if it has one, and otherwise the time.
    pub(crate) fn cost(&self, price: HourlyPrice) -> Result<LoadCost, CostError> {
        let readings: Vec<&MeterReading> = self
            .readings
            .iter()
            .filter(|reading| self.window.holds(reading.at))
            .collect();
        match readings.as_slice() {
            [first, .., last] if last.window_seconds > first.window_seconds => {
                self.metered(price, &readings)
            }
            _ => self.evenly(price),
        }
    }

    fn metered(
        &self,
        price: HourlyPrice,
        readings: &[&MeterReading],
    ) -> Result<LoadCost, CostError> {
        let slices: Vec<Slice> = thin(readings)
            .windows(2)
            .map(|pair| Slice::between(pair[0], pair[1]))
            .collect();
        let all = Slice::between(readings[0], readings[readings.len() - 1]);
        let work = |tokens: f64, seconds: f64| TokenWork {
            tokens: tokens as u64,
            seconds,
        };
        let machine = MachineTime {
            window_seconds: all.window_seconds,
            busy_seconds: all.step_seconds,
            input: work(all.tokens.input, all.token_seconds.input),
            cached: work(all.tokens.cached, all.token_seconds.cached),
            output: work(all.tokens.output, all.token_seconds.output),
        };
        let unit_costs = machine.unit_costs(price, None)?;
        let bootstrap = self.bootstrap(slices.len(), all.window_seconds);
        let interval = |of: fn(&ByToken<f64>) -> f64| {
            let series = |value: &dyn Fn(&Slice) -> f64| slices.iter().map(value).collect();
            let windows: Vec<f64> = series(&|slice| slice.window_seconds);
            let steps: Vec<f64> = series(&|slice| slice.step_seconds);
            let seconds: Vec<f64> = series(&|slice| of(&slice.token_seconds));
            let tokens: Vec<f64> = series(&|slice| of(&slice.tokens));
            let hourly = usd_per_hour(price);
            let draw = |[windows, steps, seconds, tokens]: [f64; 4]| {
                hourly / 3600.0 * windows * seconds / (steps * tokens) * 1e6
            };
            let series = [&windows[..], &steps, &seconds, &tokens];
            bootstrap?.figure_of_sums(series, CONFIDENCE, draw).ok()
        };
        let class = |tokens: f64, cost: farthing_economics::UnitCost, of| ClassCost {
            tokens,
            usd_per_million: cost.loaded.map(Cost::usd),
            interval: cost.loaded.and_then(|_| interval(of)),
            busy_usd_per_million: cost.busy.map(Cost::usd),
        };
        let by_tokens = |reading: &MeterReading| reading.seconds_by_tokens;
        let (first, last) = (readings[0], readings[readings.len() - 1]);
        let split_by_tokens_share = by_tokens(first)
            .zip(by_tokens(last))
            .filter(|_| all.step_seconds > 0.0)
            .map(|(first, last)| (last - first) / all.step_seconds);
        let cost = self.whole(
            CostSplit::MeteredByServer,
            price,
            all.window_seconds,
            (all.step_seconds > 0.0).then(|| all.step_seconds / all.window_seconds),
            [
                class(all.tokens.input, unit_costs.input, |it| it.input),
                class(all.tokens.cached, unit_costs.cached, |it| it.cached),
                class(all.tokens.output, unit_costs.output, |it| it.output),
            ],
            bootstrap,
            slices.len(),
        )?;
        Ok(LoadCost {
            split_by_tokens_share,
            ..cost
        })
    }

    fn evenly(&self, price: HourlyPrice) -> Result<LoadCost, CostError> {
        let seconds = self.window.seconds();
        let cached = self.figures.total_cached_tokens;
        let input = self.figures.total_input_tokens - cached;
        let output = self.figures.total_output_tokens;
        let bootstrap = self.bootstrap(SLICES, seconds);
        let tokens = self.computed_tokens_by_slice();
        let hourly = usd_per_hour(price) / 3600.0;
        let dollars = vec![hourly * seconds / SLICES as f64 * 1e6; SLICES];
        let interval =
            bootstrap.and_then(|it| it.ratio_of_sums(&dollars, &tokens, CONFIDENCE).ok());
        let usd = price.cost_of(seconds)?.usd();
        let each = per_million(usd, input + output);
        let class = |tokens: f64| ClassCost {
            tokens,
            usd_per_million: each.filter(|_| tokens > 0.0),
            interval: interval.filter(|_| tokens > 0.0),
            busy_usd_per_million: None,
        };
        let cached = ClassCost {
            tokens: cached,
            ..ClassCost::default()
        };
        self.whole(
            CostSplit::EvenlyByToken,
            price,
            seconds,
            None,
            [class(input), cached, class(output)],
            bootstrap,
            SLICES,
        )
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "both ways of computing a cost end here"
    )]
    fn whole(
        &self,
        split: CostSplit,
        price: HourlyPrice,
        window_seconds: f64,
        busy_share: Option<f64>,
        [input, cached, output]: [ClassCost; 3],
        bootstrap: Option<MovingBlockBootstrap>,
        slices: usize,
    ) -> Result<LoadCost, CostError> {
        let usd = price.cost_of(window_seconds)?.usd();
        let tokens = input.tokens + cached.tokens + output.tokens;
        // The windows of server and client differ slightly.
        let answers = self.figures.request_throughput() * window_seconds;
        let total: f64 = [&input, &cached, &output]
            .into_iter()
            .filter_map(|class| {
                let price: f64 = class.usd_per_million?.try_into().ok()?;
                Some(price * class.tokens / 1e6)
            })
            .sum();
        let whole: f64 = usd.try_into().unwrap_or(f64::NAN);
        Ok(LoadCost {
            split,
            split_by_tokens_share: None,
            price_per_hour_usd: price.usd(),
            window_seconds,
            usd,
            busy_share,
            usd_per_million_tokens: per_million(usd, tokens),
            usd_per_request: per_million(usd, answers * 1e6),
            residual: if whole > 0.0 {
                (total - whole).abs() / whole
            } else {
                0.0
            },
            input,
            cached,
            output,
            bootstrap: bootstrap.map(|bootstrap| BootstrapCard {
                confidence: CONFIDENCE,
                slices,
                slice_seconds: window_seconds / slices as f64,
                block_slices: bootstrap.block_length,
                resamples: RESAMPLES,
            }),
        })
    }

    /// `None` if the load is too short for intervals: fewer than 20 slices, or fewer than four
    /// blocks as long as an answer.
    fn bootstrap(&self, slices: usize, seconds: f64) -> Option<MovingBlockBootstrap> {
        let answer_seconds = self.figures.e2el.as_ref()?.mean_ms / 1000.0;
        let of_an_answer = (answer_seconds / (seconds / slices as f64)).ceil() as usize;
        let block_length = of_an_answer.max((slices as f64).cbrt().ceil() as usize);
        (slices >= LEAST_SLICES && block_length * 4 <= slices).then_some(MovingBlockBootstrap {
            block_length,
            resamples: RESAMPLES,
            seed: self.seed,
        })
    }

    /// Computed tokens in each slice of the window. Prompt tokens count at the time of the first
    /// text.
    fn computed_tokens_by_slice(&self) -> Vec<f64> {
        let mut slices = vec![0.0; SLICES];
        let mut add = |at: f64, tokens: f64| {
            if self.window.holds(at) {
                let place = (at - self.window.from) / self.window.seconds() * SLICES as f64;
                slices[(place as usize).min(SLICES - 1)] += tokens;
            }
        };
        for (at, tokens) in output_tokens(self.records) {
            add(at, tokens);
        }
        for record in self.records {
            if let Some(ttft) = record.ttft() {
                let computed = record.prompt_tokens() - record.cached_tokens();
                add(record.sent_at + ttft, computed as f64);
            }
        }
        slices
    }
}

/// The differences between two readings.
struct Slice {
    window_seconds: f64,
    step_seconds: f64,
    tokens: ByToken<f64>,
    token_seconds: ByToken<f64>,
}

impl Slice {
    fn between(from: &MeterReading, to: &MeterReading) -> Self {
        let tokens =
            |of: fn(&ByToken<u64>) -> u64| of(&to.tokens).saturating_sub(of(&from.tokens)) as f64;
        let (before, after) = (&from.token_seconds, &to.token_seconds);
        Self {
            window_seconds: to.window_seconds - from.window_seconds,
            step_seconds: to.step_seconds - from.step_seconds,
            tokens: ByToken {
                input: tokens(|it| it.input),
                cached: tokens(|it| it.cached),
                output: tokens(|it| it.output),
            },
            token_seconds: ByToken {
                input: after.input - before.input,
                cached: after.cached - before.cached,
                output: after.output - before.output,
            },
        }
    }
}

/// At most [`SLICES`] + 1 readings, including the first and the last.
fn thin<'a>(readings: &[&'a MeterReading]) -> Vec<&'a MeterReading> {
    let last = readings.len() - 1;
    let slices = last.min(SLICES);
    (0..=slices)
        .map(|slice| readings[slice * last / slices.max(1)])
        .collect()
}

fn usd_per_hour(price: HourlyPrice) -> f64 {
    price.usd().try_into().unwrap_or(f64::NAN)
}

/// `usd` per million tokens; `None` for no tokens.
fn per_million(usd: Decimal, tokens: f64) -> Option<Decimal> {
    let millions = Decimal::try_from(tokens / 1e6).ok()?;
    Some(usd.checked_div(millions)?.round_dp(Cost::SHOWN_DIGITS))
}

#[cfg(test)]
mod tests;
