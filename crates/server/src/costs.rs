//! The cost of tokens: now, and since the start.

mod comparison;

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use farthing_api::{CostComparison, Moment};
use farthing_economics::{
    Basis, Cost, DEFAULT_OFFERS, HourlyPrice, MachineTime, MeasuredMix, MixComparison, Offer,
    PriceBook, TokenWork, TokenizerFamily, UnitCosts,
};
use farthing_engine::{DeviceSeconds, EngineStats, SplitBasis};
use rust_decimal::Decimal;

use crate::clock::today;
use crate::request::backend::Backend;

/// The length of the window that "now" means.
pub(crate) const WINDOW: Duration = Duration::from_secs(300);
/// The interval between samples: the start of the window moves in these steps.
pub(crate) const SAMPLE_EVERY: Duration = Duration::from_secs(5);

/// Samples of the engine's seconds and tokens, and prices.
pub(crate) struct Costs {
    /// `None` if another process computes.
    engine: Option<Arc<dyn Backend>>,
    config: CostsConfig,
    /// Vendors' prices.
    prices: PriceBook,
    /// Oldest first: the last sample before the window, then those in it.
    samples: Mutex<VecDeque<(Instant, EngineStats)>>,
}

/// What is known about the machine and its model.
#[derive(Clone, Copy, Debug, Default)]
pub struct CostsConfig {
    /// The price of the machine, if known.
    pub price: Option<HourlyPrice>,
    /// Prompt, cached and generated tokens per second that the machine carries within its service
    /// level, if known.
    pub slo_tokens_per_second: Option<f64>,
    /// The model's tokenizer, if it is one of those that comparisons know.
    pub tokenizer: Option<TokenizerFamily>,
}

/// The engine's work in a span of time, and its costs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Span {
    pub seconds: DeviceSeconds,
    /// The part of the steps' seconds that was split by tokens.
    pub seconds_by_tokens: f64,
    pub machine: MachineTime,
    /// `None` if the price is unknown.
    pub unit_costs: Option<UnitCosts>,
}

/// Factors from busy cost to the two other figures; `None` if unknown.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Factors {
    pub loaded: Option<f64>,
    pub at_capacity: Option<f64>,
}

impl Span {
    /// How the time of its steps was split. If both ways were used, the less exact one.
    pub(crate) fn basis(&self) -> SplitBasis {
        if self.seconds_by_tokens > 0.0 {
            SplitBasis::Tokens
        } else {
            SplitBasis::StepModel
        }
    }
}

/// The name of a way to split device time.
pub(crate) fn basis(split: SplitBasis) -> Basis {
    match split {
        SplitBasis::StepModel => Basis::MeasuredDeviceTime,
        SplitBasis::Tokens => Basis::MeasuredDeviceTimeByTokens,
    }
}

/// By how much the sums of three identities differ, relative to the sum.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Residuals {
    /// The sum over rows, and the sum over steps.
    pub rows: f64,
    /// The sum over buckets, and the window.
    pub window: f64,
    /// The sum of price times tokens over token classes, and the attributed cost.
    pub tokens: f64,
}

impl Costs {
    pub(crate) fn new(engine: Option<Arc<dyn Backend>>, config: CostsConfig) -> Self {
        let costs = Self {
            engine,
            config,
            prices: PriceBook::shipped().unwrap_or_else(|error| {
                tracing::error!("no vendor's prices are shown: {error}");
                PriceBook::default()
            }),
            samples: Mutex::default(),
        };
        costs.sample();
        costs
    }

    pub(crate) fn price(&self) -> Option<HourlyPrice> {
        self.config.price
    }

    /// The cost of device seconds, rounded for display; `None` if the price is unknown.
    pub(crate) fn usd(&self, seconds: f64) -> Option<Decimal> {
        let cost = self.config.price?.cost_of(seconds).ok()?;
        Some(cost.usd().round_dp(Cost::SHOWN_DIGITS))
    }

    pub(crate) fn slo_tokens_per_second(&self) -> Option<f64> {
        self.config.slo_tokens_per_second
    }

    /// The engine's current figures.
    pub(crate) fn stats(&self) -> EngineStats {
        self.engine
            .as_ref()
            .map(|engine| engine.stats())
            .unwrap_or_default()
    }

    /// Samples the engine's figures. May be called at any interval.
    pub(crate) fn sample(&self) {
        self.window_began(&self.stats());
    }

    /// The last [`WINDOW`] up to `stats`, or the time since the warm-up if that is shorter.
    pub(crate) fn now(&self, stats: &EngineStats) -> Span {
        self.span(&self.window_began(stats), stats)
    }

    /// The sample at the start of the window. `stats` is kept for later windows.
    fn window_began(&self, stats: &EngineStats) -> EngineStats {
        let now = Instant::now();
        let mut samples = self.samples.lock().unwrap_or_else(PoisonError::into_inner);
        // The engine resets its counters when the warm-up ends.
        samples.retain(|(_, sample)| sample.seconds.warm_up == stats.seconds.warm_up);
        let age = |(at, _): &(Instant, EngineStats)| now.duration_since(*at);
        if samples.back().is_none_or(|last| age(last) >= SAMPLE_EVERY) {
            samples.push_back((now, stats.clone()));
        }
        while samples.get(1).is_some_and(|second| age(second) >= WINDOW) {
            samples.pop_front();
        }
        samples[0].1.clone()
    }

    /// The samples of the window, oldest first.
    pub(crate) fn recent(&self, stats: &EngineStats) -> Vec<Moment> {
        let now = Instant::now();
        self.window_began(stats);
        let samples = self.samples.lock().unwrap_or_else(PoisonError::into_inner);
        let pairs = samples.iter().zip(samples.iter().skip(1));
        let moments = pairs.filter_map(|((_, from), (until, to))| {
            let machine = self.span(from, to).machine;
            Some(Moment {
                seconds_ago: now.saturating_duration_since(*until).as_secs_f64(),
                tokens_per_second: machine.tokens() as f64 / machine.window_seconds,
                busy_share: machine.busy_share()?,
            })
        });
        moments.collect()
    }

    /// Compares the window's mix of tokens with vendors' prices. If the window has no tokens, the
    /// mix since the start is compared; `None` if there were none at all.
    pub(crate) fn comparison(&self, stats: &EngineStats) -> Option<CostComparison> {
        let spans = [
            ("now", self.now(stats)),
            ("since_start", self.since_start(stats)),
        ];
        let (of, span) = spans.iter().find(|(_, span)| span.machine.tokens() > 0)?;
        let measured = MeasuredMix {
            machine: span.machine,
            price: self.config.price,
            slo_tokens_per_second: self.config.slo_tokens_per_second,
            tokenizer: self.config.tokenizer,
        };
        let day = today();
        let named = DEFAULT_OFFERS.iter();
        let named = named.filter_map(|name| self.prices.token_price(name, day).ok());
        let endpoint = self.prices.cheapest_endpoint(day);
        let offers: Vec<_> = named
            .map(Offer::Tokens)
            .chain(endpoint.map(Offer::Endpoint))
            .collect();
        let full_use = match self.config.slo_tokens_per_second {
            Some(_) => "slo_capacity",
            None => "busy",
        };
        let compared = MixComparison::new(&measured, &offers, day)?;
        Some(comparison::card(compared, of, full_use, day))
    }

    /// The time since the start, warm-up included.
    pub(crate) fn since_start(&self, stats: &EngineStats) -> Span {
        self.span(&EngineStats::default(), stats)
    }

    /// The factors of the window.
    pub(crate) fn factors(&self) -> Factors {
        self.factors_of(&self.now(&self.stats()))
    }

    /// The factors of the time since the start.
    pub(crate) fn factors_since_start(&self) -> Factors {
        self.factors_of(&self.since_start(&self.stats()))
    }

    fn factors_of(&self, span: &Span) -> Factors {
        let machine = &span.machine;
        let rate = self.config.slo_tokens_per_second;
        Factors {
            loaded: machine.load_factor(),
            at_capacity: rate.and_then(|rate| machine.capacity_factor(rate)),
        }
    }

    fn span(&self, from: &EngineStats, to: &EngineStats) -> Span {
        let work = |from: (u64, f64), to: (u64, f64)| TokenWork {
            tokens: to.0.saturating_sub(from.0),
            seconds: (to.1 - from.1).max(0.0),
        };
        let seconds = to.seconds - from.seconds;
        let machine = MachineTime {
            window_seconds: seconds.window,
            busy_seconds: seconds.steps,
            input: work(
                (from.tokens.input, from.token_seconds.input),
                (to.tokens.input, to.token_seconds.input),
            ),
            cached: work(
                (from.tokens.cached, from.token_seconds.cached),
                (to.tokens.cached, to.token_seconds.cached),
            ),
            output: work(
                (from.tokens.output, from.token_seconds.output),
                (to.tokens.output, to.token_seconds.output),
            ),
        };
        Span {
            seconds,
            seconds_by_tokens: (to.seconds_by_tokens - from.seconds_by_tokens).max(0.0),
            machine,
            unit_costs: self.config.price.and_then(|price| {
                machine
                    .unit_costs(price, self.config.slo_tokens_per_second)
                    .ok()
            }),
        }
    }
}

impl Residuals {
    pub(crate) fn of(stats: &EngineStats) -> Self {
        let (seconds, tokens) = (&stats.seconds, &stats.tokens);
        let priced = |seconds: f64, tokens: u64| match tokens {
            0 => 0.0,
            tokens => seconds / tokens as f64 * tokens as f64,
        };
        let by_kind = priced(stats.token_seconds.input, tokens.input)
            + priced(stats.token_seconds.cached, tokens.cached)
            + priced(stats.token_seconds.output, tokens.output);
        let buckets =
            seconds.warm_up + seconds.adapter_load + seconds.idle + seconds.host + seconds.steps;
        Self {
            rows: relative(stats.attributed_seconds, seconds.steps),
            window: relative(buckets, seconds.window),
            tokens: relative(
                by_kind + stats.failed_step_seconds,
                stats.attributed_seconds,
            ),
        }
    }
}

fn relative(a: f64, b: f64) -> f64 {
    if a == b {
        0.0
    } else {
        (a - b).abs() / a.abs().max(b.abs())
    }
}
