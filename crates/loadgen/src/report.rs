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

/// All that was measured. As text it is a table; [`Report::html`] is a page.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// `farthing.bench`.
    pub object: &'static str,
    /// Farthing's.
    pub version: &'static str,
    /// When it began.
    pub date: Timestamp,
    /// What it is called.
    pub label: Option<String>,
    /// Whom it is about.
    pub target: TargetCard,
    /// What was asked for.
    pub load: LoadCard,
    /// Whether the price is the server's word.
    pub price_from_server: bool,
    /// At the load that was asked for. Its figures stand at the top, as vLLM's bench has them.
    #[serde(flatten)]
    pub measured_load: LoadReport,
    /// In a closed loop of many.
    pub full_load: Option<LoadReport>,
    /// What a good answer keeps to, and the rate at which enough of them do.
    pub slo: Option<SloCard>,
    /// At that rate.
    pub slo_load: Option<LoadReport>,
    /// What `farthing compare --bench` reads.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub measured_cost: Option<MeasuredCost>,
    /// What a reader has to know before he believes it.
    pub warnings: Vec<String>,
}

/// A server.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TargetCard {
    /// Where requests went.
    pub endpoint: String,
    /// Which models were asked.
    pub models: Vec<String>,
    /// Whether it meters itself.
    pub is_farthing: bool,
    /// Whether it counted the tokens.
    pub tells_usage: bool,
}

/// A load as it was asked for.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LoadCard {
    /// `random` or `trace`.
    pub dataset: &'static str,
    /// Tokens of a prompt, where they are given.
    pub random_input_len: Option<u64>,
    /// Tokens of an answer, where they are given.
    pub random_output_len: Option<u64>,
    /// Requests a second; none where they came at once or as in a trace.
    pub request_rate: Option<f64>,
    /// 1 is a Poisson process.
    pub burstiness: Option<f64>,
    /// How many times as fast as the trace.
    pub trace_speed: Option<f64>,
    /// At most so many at once.
    pub max_concurrency: Option<usize>,
    /// Requests that were to be measured; none where time ended the load.
    pub num_prompts: Option<usize>,
    /// Seconds in which requests were sent, where that ended the load.
    pub duration_seconds: Option<f64>,
    /// Requests before the measured ones.
    pub num_warmups: usize,
    /// Of the traffic.
    pub seed: u64,
    /// How models were chosen, where there are several.
    pub lora_assignment: Option<&'static str>,
}

/// An SLO and how much load keeps it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SloCard {
    /// Limits of a request.
    #[serde(flatten)]
    pub slo: Slo,
    /// Which share of the requests has to keep them.
    pub attainment: Option<f64>,
    /// The rates that were tried.
    pub search: Option<SloRate>,
}

impl Report {
    /// One page with everything in it.
    pub fn html(&self) -> String {
        html::page(self)
    }

    /// What was measured, each with its name.
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

    /// In words.
    pub(crate) fn told(&self) -> String {
        let mut told = match (self.request_rate, self.trace_speed, self.max_concurrency) {
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
            told.push_str(&format!(", at most {concurrency} at once"));
        }
        if let Some((input, output)) = self.random_input_len.zip(self.random_output_len) {
            told.push_str(&format!("; {input} tokens in, {output} out"));
        }
        match (self.num_prompts, self.duration_seconds) {
            (Some(requests), _) => told.push_str(&format!("; {requests} requests")),
            (None, Some(seconds)) => told.push_str(&format!("; for {seconds} s")),
            (None, None) => {}
        }
        told.push_str(&format!(
            " after {} of warm-up; seed {}",
            self.num_warmups, self.seed
        ));
        told
    }
}
