//! The report of one load.

use farthing_economics::{CostError, HourlyPrice};
use serde::Serialize;

use crate::client_health::ClientHealth;
use crate::figures::{Figures, output_tokens};
use crate::load::LoadLog;
use crate::load_cost::{CostBasis, LoadCost};
use crate::model_share::ModelShare;
use crate::record::Record;
use crate::slo::Slo;
use crate::traffic::Traffic;
use crate::window::Window;

/// Figures and cost of a load.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LoadReport {
    /// Figures with vLLM's names.
    #[serde(flatten)]
    pub figures: Figures,
    /// `None` if no price is known.
    pub cost: Option<LoadCost>,
    /// Figures for each model.
    pub models: Vec<ModelShare>,
    /// Whether the client kept up.
    pub health: ClientHealth,
    /// Throughput over time, from the start of the load to its last answer.
    #[serde(skip)]
    pub timeline: Vec<TimelinePoint>,
    /// Start and end of the measured window, in seconds of the timeline.
    pub window: [f64; 2],
}

/// One point of the timeline.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct TimelinePoint {
    /// Time in seconds.
    pub at: f64,
    /// Output tokens per second.
    pub output_tokens_per_s: f64,
    /// Concurrent requests.
    pub in_flight: f64,
}

/// A report and the log that it was made from.
pub(crate) struct Measured {
    pub report: LoadReport,
    pub log: LoadLog,
}

const TIMELINE_POINTS: usize = 120;

impl LoadReport {
    /// `None` if nothing was measured.
    pub(crate) fn of(
        log: &LoadLog,
        traffic: &Traffic,
        slo: Option<&Slo>,
        percentiles: &[f64],
        price: Option<HourlyPrice>,
    ) -> Result<Option<Self>, CostError> {
        let Some(window) = Window::of(&log.records, log.warm_up_requests) else {
            return Ok(None);
        };
        let warm_up = log.warm_up_requests;
        let figures = Figures::of(&log.records, warm_up, &window, slo, percentiles);
        let basis = CostBasis {
            records: &log.records,
            readings: &log.readings,
            window: &window,
            figures: &figures,
            seed: traffic.seed,
        };
        let has_time = window.seconds() > 0.0;
        let cost = price.filter(|_| has_time).map(|price| basis.cost(price));
        Ok(Some(Self {
            cost: cost.transpose()?,
            models: ModelShare::of(&log.records, warm_up),
            health: log.health.clone(),
            timeline: timeline(&log.records),
            window: [window.from, window.to],
            figures,
        }))
    }
}

fn timeline(records: &[Record]) -> Vec<TimelinePoint> {
    let end = records.iter().map(Record::ended_at).fold(0.0, f64::max);
    let width = end / TIMELINE_POINTS as f64;
    let mut points: Vec<TimelinePoint> = (0..TIMELINE_POINTS)
        .map(|place| {
            let at = (place as f64 + 0.5) * width;
            let is_running = |it: &&Record| it.sent_at <= at && at < it.ended_at();
            TimelinePoint {
                at,
                output_tokens_per_s: 0.0,
                in_flight: records.iter().filter(is_running).count() as f64,
            }
        })
        .collect();
    for (at, tokens) in output_tokens(records) {
        let place = ((at / width) as usize).min(TIMELINE_POINTS - 1);
        points[place].output_tokens_per_s += tokens / width;
    }
    points
}
