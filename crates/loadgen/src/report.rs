//! The report of a benchmark.

mod html;
mod plot;
mod table;

use farthing_economics::MeasuredCost;
use jiff::Timestamp;
use serde::Serialize;

use crate::load_report::LoadReport;
use crate::slo::Slo;
use crate::slo_search::SloRate;
use crate::traffic::{Arrivals, Assignment, Lengths, Traffic};

/// All results. `Display` writes a table, [`Report::html`] a page.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// `farthing.bench`.
    pub object: &'static str,
    /// Farthing's version.
    pub version: &'static str,
    /// When the benchmark began.
    pub date: Timestamp,
    /// The label of the report.
    pub label: Option<String>,
    /// The server.
    pub target: TargetCard,
    /// The requested load.
    pub load: LoadCard,
    /// Whether the price was reported by the server.
    pub price_from_server: bool,
    /// The requested load's results. They are at the top level, as in vLLM's output.
    #[serde(flatten)]
    pub measured_load: LoadReport,
    /// Results of a closed loop with high concurrency.
    pub full_load: Option<LoadReport>,
    /// The SLO, and the highest rate that keeps it.
    pub slo: Option<SloCard>,
    /// Results at that rate.
    pub slo_load: Option<LoadReport>,
    /// The input of `farthing compare --bench`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub measured_cost: Option<MeasuredCost>,
    /// Limitations that readers should know about.
    pub warnings: Vec<String>,
}

/// The server that was measured.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TargetCard {
    /// Address of the requests.
    pub endpoint: String,
    /// The requested models.
    pub models: Vec<String>,
    /// Whether it is Farthing, which meters itself.
    pub is_farthing: bool,
    /// Whether it reports token counts.
    pub tells_usage: bool,
}

/// The requested load.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LoadCard {
    /// `random` or `trace`.
    pub dataset: &'static str,
    /// Prompt tokens, if fixed.
    pub random_input_len: Option<u64>,
    /// Output tokens, if fixed.
    pub random_output_len: Option<u64>,
    /// Requests per second; `None` if they are sent at once or as in a trace.
    pub request_rate: Option<f64>,
    /// Burstiness; 1 is a Poisson process.
    pub burstiness: Option<f64>,
    /// Speed relative to the trace.
    pub trace_speed: Option<f64>,
    /// Maximum number of concurrent requests.
    pub max_concurrency: Option<usize>,
    /// Number of measured requests; `None` if the load has a duration.
    pub num_prompts: Option<usize>,
    /// Duration of sending in seconds, if the load has one.
    pub duration_seconds: Option<f64>,
    /// Warm-up requests.
    pub num_warmups: usize,
    /// Seed of the traffic.
    pub seed: u64,
    /// How models are chosen, if there are several.
    pub lora_assignment: Option<&'static str>,
}

/// An SLO and the load that keeps it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SloCard {
    /// Limits of a request.
    #[serde(flatten)]
    pub slo: Slo,
    /// Fraction of requests that has to keep them.
    pub attainment: Option<f64>,
    /// The rates that were tried.
    pub search: Option<SloRate>,
}

impl Report {
    /// The report as an HTML page.
    pub fn html(&self) -> String {
        html::page(self)
    }

    /// The measured loads with their names.
    pub fn loads(&self) -> Vec<(&'static str, &LoadReport)> {
        let loads = [
            ("measured load", Some(&self.measured_load)),
            ("full load", self.full_load.as_ref()),
            ("highest load inside the SLO", self.slo_load.as_ref()),
        ];
        loads
            .into_iter()
            .filter_map(|(name, load)| Some((name, load?)))
            .collect()
    }
}

impl LoadCard {
    pub(crate) fn of(traffic: &Traffic) -> Self {
        let lengths = match &traffic.lengths {
            Lengths::Random(lengths) => Some(lengths),
            Lengths::Trace(_) => None,
        };
        let (request_rate, burstiness, trace_speed) = match traffic.arrivals {
            Arrivals::AtOnce => (None, None, None),
            Arrivals::Random { rate, burstiness } => (Some(rate), Some(burstiness), None),
            Arrivals::Trace { speed } => (None, None, Some(speed)),
        };
        Self {
            dataset: if lengths.is_some() { "random" } else { "trace" },
            random_input_len: lengths.map(|it| it.input),
            random_output_len: lengths.map(|it| it.output),
            request_rate,
            burstiness,
            trace_speed,
            max_concurrency: traffic.max_concurrency,
            num_prompts: traffic
                .duration_seconds
                .is_none()
                .then_some(traffic.requests),
            duration_seconds: traffic.duration_seconds,
            num_warmups: traffic.warm_up_requests,
            seed: traffic.seed,
            lora_assignment: (traffic.models.len() > 1).then_some(match traffic.assignment {
                Assignment::Random => "random",
                Assignment::RoundRobin => "round-robin",
            }),
        }
    }

    /// A description of the load.
    pub(crate) fn description(&self) -> String {
        let mut text = match (self.request_rate, self.trace_speed, self.max_concurrency) {
            (Some(rate), _, _) => match self.burstiness {
                Some(1.0) | None => format!("Poisson arrivals, {rate} requests a second"),
                Some(burstiness) => {
                    format!("arrivals of burstiness {burstiness}, {rate} requests a second")
                }
            },
            (_, Some(1.0), _) => "arrivals as in the trace".to_owned(),
            (_, Some(speed), _) => format!("arrivals as in the trace, {speed} times as fast"),
            (.., Some(concurrency)) => format!("closed loop of {concurrency}"),
            _ => "all requests at once".to_owned(),
        };
        let is_closed = self.request_rate.is_none() && self.trace_speed.is_none();
        if let Some(concurrency) = self.max_concurrency.filter(|_| !is_closed) {
            text.push_str(&format!(", at most {concurrency} at once"));
        }
        if let Some((input, output)) = self.random_input_len.zip(self.random_output_len) {
            text.push_str(&format!("; {input} tokens in, {output} out"));
        }
        match (self.num_prompts, self.duration_seconds) {
            (Some(requests), _) => text.push_str(&format!("; {requests} requests")),
            (None, Some(seconds)) => text.push_str(&format!("; for {seconds} s")),
            (None, None) => {}
        }
        text.push_str(&format!(
            " after {} of warm-up; seed {}",
            self.num_warmups, self.seed
        ));
        text
    }
}
