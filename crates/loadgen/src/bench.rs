//! A benchmark: the given load and, on request, full load and the highest rate that keeps the SLO.

use std::time::Duration;

use farthing_economics::{CostError, HourlyPrice, MeasuredCost};
use jiff::Timestamp;
use rust_decimal::Decimal;

use crate::client::{ClientError, HttpClient};
use crate::load::{LoadLog, Loader, Observer};
use crate::load_report::{LoadReport, Measured};
use crate::preflight::{Preflight, PreflightError, preflight};
use crate::report::{LoadCard, Report, SloCard, TargetCard};
use crate::slo::Slo;
use crate::slo_search::{SloRate, SloSearch, Tally};
use crate::stop::Stop;
use crate::target::Target;
use crate::traffic::{Arrivals, Lengths, Traffic};
use crate::warnings::warnings;

/// What to measure.
#[derive(Clone, Debug)]
pub struct BenchConfig {
    /// The server.
    pub target: Target,
    /// The environment variable that contains the API key.
    pub api_key_env: Option<String>,
    /// Timeout of a whole answer.
    pub timeout: Duration,
    /// The load. Without models, the first model listed by the server is used.
    pub traffic: Traffic,
    /// Limits that a good answer keeps.
    pub slo: Option<Slo>,
    /// Search for the highest rate at which this fraction of requests keeps the SLO.
    pub slo_attainment: Option<f64>,
    /// Requests per rate of the search. There are more if these would be sent in less than 20 s.
    pub slo_requests: usize,
    /// Also measure a closed loop with this many concurrent requests.
    pub full_load_concurrency: Option<usize>,
    /// The price of the machine. Without it, the server's own price is used.
    pub price_per_hour: Option<HourlyPrice>,
    /// Number of GPUs in the machine.
    pub gpus: u32,
    /// Percentiles to report.
    pub percentiles: Vec<f64>,
    /// Label of the report.
    pub label: Option<String>,
    /// Ends the benchmark early.
    pub stop: Stop,
}

/// Why a configuration is invalid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BenchConfigError {
    /// Arrivals come from a trace, but lengths do not.
    #[error("arrivals from a trace need lengths from a trace")]
    NoTrace,
    /// The number of requests or the concurrency is 0.
    #[error("the number of requests and the concurrency must be at least 1")]
    NoRequests,
    /// A duration without a rate, which would send requests without end.
    #[error("requests at once for a duration need a maximum concurrency")]
    NoConcurrency,
    /// A search for the SLO's rate without an SLO.
    #[error("a search for the SLO's rate needs an SLO")]
    NoSlo,
}

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    /// The client cannot be set up.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The server is unreachable or cannot be measured.
    #[error(transparent)]
    Preflight(#[from] PreflightError),
    /// No request was answered.
    #[error("none of {requests} requests of the {load} was answered; {example}")]
    NothingAnswered {
        /// The load.
        load: String,
        /// Requests sent.
        requests: usize,
        /// An example of the failures.
        example: String,
    },
    /// A cost is too large for a decimal.
    #[error(transparent)]
    Cost(#[from] CostError),
}

/// Minimum duration of a rate's arrivals. A growing queue takes time to show.
const PROBE_SECONDS: f64 = 20.0;
/// The search ends when the gap is at most this fraction of the rate.
const RESOLUTION: f64 = 0.06;
const MAX_RATES: usize = 16;
/// Seconds in a day: the capacity per day assumes that the machine works all day.
const SECONDS_PER_DAY: f64 = 86_400.0;

/// Runs a benchmark. `observer` receives the progress.
pub async fn bench(config: &BenchConfig, observer: Observer<'_>) -> Result<Report, BenchError> {
    let key = config.api_key_env.as_deref();
    let client = HttpClient::new(&config.target, key, config.timeout)?;
    let preflight = preflight(&client, &config.target, &config.traffic.models).await?;
    let mut traffic = config.traffic.clone();
    traffic.models = preflight.models.clone();
    let bench = Bench {
        config,
        price: config.price_per_hour.or_else(|| servers_price(&preflight)),
        loader: Loader {
            client: &client,
            target: &config.target,
            preflight: &preflight,
            observer,
            stop: &config.stop,
        },
        traffic,
    };
    bench.run().await
}

struct Bench<'a> {
    config: &'a BenchConfig,
    price: Option<HourlyPrice>,
    loader: Loader<'a>,
    traffic: Traffic,
}

/// Why a search has no result.
enum Ended {
    Stopped,
    Failed(BenchError),
}

impl From<BenchError> for Ended {
    fn from(error: BenchError) -> Self {
        Self::Failed(error)
    }
}

impl Bench<'_> {
    async fn run(&self) -> Result<Report, BenchError> {
        let began = Timestamp::now();
        let measured = self.load("measured load", &self.traffic, 0).await?;
        let mut warned = warnings(&measured, &self.traffic, self.loader.preflight);
        let full_load = self.full_load().await?;
        if let Some(full) = &full_load {
            warned.extend(full.report.health.warnings());
        }
        let (search, slo_load) = self.slo_load(&measured.report).await?;
        if self.config.stop.is_requested() {
            let sent = measured.log.records.len();
            warned.push(format!(
                "stopped by the user after {sent} requests of the measured load"
            ));
        }
        if self.price.is_none() {
            warned.push(
                "no price is known, so there are no costs: set the price per hour".to_owned(),
            );
        }
        let slo = self.config.slo.map(|slo| SloCard {
            slo,
            attainment: self.config.slo_attainment,
            search,
        });
        let preflight = self.loader.preflight;
        Ok(Report {
            object: "farthing.bench",
            version: env!("CARGO_PKG_VERSION"),
            date: began,
            label: self.config.label.clone(),
            target: TargetCard {
                endpoint: self.config.target.endpoint(),
                models: preflight.models.iter().map(|it| it.to_string()).collect(),
                is_farthing: preflight.meter.is_some(),
                tells_usage: preflight.tells_usage,
            },
            load: LoadCard::of(&self.traffic),
            price_from_server: self.config.price_per_hour.is_none() && self.price.is_some(),
            measured_cost: self.measured_cost(&measured.report, slo_load.as_ref()),
            measured_load: measured.report,
            full_load: full_load.map(|it| it.report),
            slo,
            slo_load,
            warnings: warned,
        })
    }

    /// Runs a load. `phase` makes its prompts differ from those of other loads, which the server
    /// may have cached.
    async fn load(
        &self,
        name: &str,
        traffic: &Traffic,
        phase: u64,
    ) -> Result<Measured, BenchError> {
        let mut traffic = traffic.clone();
        traffic.seed ^= phase << 32;
        let log = self.loader.run(name, &traffic).await;
        self.measured(name, log, &traffic)
    }

    /// Like [`Self::load`], but `None` if it was stopped: part of such a load is not
    /// representative.
    async fn whole_load(
        &self,
        name: &str,
        traffic: &Traffic,
        phase: u64,
    ) -> Result<Option<Measured>, BenchError> {
        let measured = self.load(name, traffic, phase).await;
        if self.config.stop.is_requested() {
            Ok(None)
        } else {
            measured.map(Some)
        }
    }

    fn measured(
        &self,
        name: &str,
        log: LoadLog,
        traffic: &Traffic,
    ) -> Result<Measured, BenchError> {
        let slo = self.config.slo.as_ref();
        let report = LoadReport::of(&log, traffic, slo, &self.config.percentiles, self.price)?;
        match report {
            Some(report) if report.figures.completed > 0 => Ok(Measured { report, log }),
            report => Err(BenchError::NothingAnswered {
                load: name.to_owned(),
                requests: log.records.len(),
                example: report.map_or_else(
                    || "the warm-up took all the time".to_owned(),
                    |report| failure_summary(&report),
                ),
            }),
        }
    }

    async fn full_load(&self) -> Result<Option<Measured>, BenchError> {
        let Some(concurrency) = self.config.full_load_concurrency else {
            return Ok(None);
        };
        let mut traffic = self.traffic.clone();
        traffic.arrivals = Arrivals::AtOnce;
        traffic.max_concurrency = Some(concurrency);
        traffic.warm_up_requests = concurrency;
        // Full load must last: three times the number of concurrent requests.
        traffic.requests = traffic.requests.max(3 * concurrency);
        self.whole_load("full load", &traffic, 1).await
    }

    async fn slo_load(
        &self,
        measured: &LoadReport,
    ) -> Result<(Option<SloRate>, Option<LoadReport>), BenchError> {
        let (Some(attainment), Some(slo)) = (self.config.slo_attainment, self.config.slo) else {
            return Ok((None, None));
        };
        let search = SloSearch {
            attainment,
            // Half of a rate that the server has already sustained.
            first_rate: (measured.figures.request_throughput() / 2.0).max(0.01),
            resolution: RESOLUTION,
            max_rates: MAX_RATES,
        };
        let mut phase = 1;
        let mut best: Option<(f64, LoadReport)> = None;
        let found = search
            .run(async |rate: f64| -> Result<Tally, Ended> {
                phase += 1;
                let (name, mut traffic) = self.at_rate(rate);
                traffic.seed ^= phase << 32;
                let log = self.loader.run(&name, &traffic).await;
                if self.config.stop.is_requested() {
                    return Err(Ended::Stopped);
                }
                let measured = log
                    .records
                    .iter()
                    .filter(|record| record.number >= log.warm_up_requests);
                let tally = Tally {
                    good: measured.clone().filter(|it| slo.is_kept_by(it)).count() as u64,
                    total: measured.count() as u64,
                };
                let is_higher = best.as_ref().is_none_or(|(best, _)| rate >= *best);
                let share = tally.good as f64 / tally.total.max(1) as f64;
                if is_higher && share >= attainment {
                    let measured = self.measured(&name, log, &traffic)?;
                    best = Some((rate, measured.report));
                }
                Ok(tally)
            })
            .await;
        let found = match found {
            Ok(found) => found,
            Err(Ended::Stopped) => return Ok((None, None)),
            Err(Ended::Failed(error)) => return Err(error),
        };
        // The best rate may have been dropped later in the search.
        let load = match (found.rate, best) {
            (Some(rate), Some((best, report))) if best == rate => Some(report),
            (Some(rate), _) => {
                let (name, traffic) = self.at_rate(rate);
                let load = self.whole_load(&name, &traffic, phase + 1).await?;
                load.map(|it| it.report)
            }
            (None, _) => None,
        };
        Ok((Some(found), load))
    }

    /// The load at a number of requests per second, and its name.
    fn at_rate(&self, rate: f64) -> (String, Traffic) {
        let least = (rate * PROBE_SECONDS).ceil() as usize;
        let traffic = Traffic {
            arrivals: Arrivals::Random {
                rate,
                burstiness: 1.0,
            },
            max_concurrency: None,
            duration_seconds: None,
            requests: self.config.slo_requests.max(least),
            ..self.traffic.clone()
        };
        (format!("{rate:.2} requests a second"), traffic)
    }

    /// The input of `farthing compare --bench`.
    fn measured_cost(
        &self,
        measured: &LoadReport,
        slo_load: Option<&LoadReport>,
    ) -> Option<MeasuredCost> {
        let cost = measured.cost.as_ref()?;
        let gpus = Decimal::from(self.config.gpus.max(1));
        let mean = |tokens: f64| Some(Decimal::try_from(tokens).ok()?.round_dp(3).normalize());
        let slo_tokens_per_day = slo_load.and_then(|load| {
            let per_day = load.figures.total_token_throughput() * SECONDS_PER_DAY;
            let per_day = Decimal::try_from(per_day).ok()?;
            Some((per_day / gpus).round())
        });
        Some(MeasuredCost {
            usd_per_million_input: cost.input.usd_per_million?,
            usd_per_million_cached_input: cost.cached.usd_per_million,
            usd_per_million_output: cost.output.usd_per_million?,
            mean_prompt_tokens: mean(measured.figures.mean_input_tokens)?,
            mean_cached_tokens: mean(measured.figures.mean_cached_tokens)?,
            mean_output_tokens: mean(measured.figures.mean_output_tokens)?,
            usd_per_gpu_hour: Some(cost.price_per_hour_usd / gpus),
            slo_tokens_per_day,
            tokenizer: None,
        })
    }
}

fn servers_price(preflight: &Preflight) -> Option<HourlyPrice> {
    HourlyPrice::new(preflight.meter?.price_per_hour_usd?).ok()
}

fn failure_summary(report: &LoadReport) -> String {
    let failures = report
        .figures
        .failures
        .iter()
        .map(|failure| format!("{}: {} ({})", failure.count, failure.kind, failure.example));
    failures.collect::<Vec<_>>().join("; ")
}

impl BenchConfig {
    /// Checks the configuration.
    ///
    /// # Errors
    /// The configuration is incomplete or contradicts itself.
    pub fn check(&self) -> Result<(), BenchConfigError> {
        let traffic = &self.traffic;
        if let Arrivals::Trace { .. } = traffic.arrivals
            && !matches!(traffic.lengths, Lengths::Trace(_))
        {
            return Err(BenchConfigError::NoTrace);
        }
        if traffic.requests == 0 || traffic.max_concurrency == Some(0) {
            return Err(BenchConfigError::NoRequests);
        }
        if traffic.duration_seconds.is_some()
            && traffic.arrivals == Arrivals::AtOnce
            && traffic.max_concurrency.is_none()
        {
            return Err(BenchConfigError::NoConcurrency);
        }
        if self.slo_attainment.is_some() && self.slo.is_none_or(|slo| slo == Slo::default()) {
            return Err(BenchConfigError::NoSlo);
        }
        Ok(())
    }
}
