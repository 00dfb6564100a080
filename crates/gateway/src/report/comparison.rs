//! The candidate against the baseline.

use std::thread;

use farthing_experiment::{
    ClusteredBootstrap, Estimate, ExperimentError, QuantileDifference, holm,
};
use serde::Serialize;

use super::measured::Measured;
use super::metrics::{ArmPairRows, OwnCost};
use crate::ExperimentSpec;

/// The candidate against the baseline.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Comparison {
    /// The candidate's share of accepted answers minus the baseline's.
    pub(super) quality_difference: Measured,
    /// Dollars per accepted answer relative to the baseline's (-0.1 = 10 % cheaper), with our own
    /// device at its busy cost.
    pub(super) usd_per_accepted_busy_relative: Measured,
    /// The same at its loaded cost. The verdict goes by this.
    pub(super) usd_per_accepted_loaded_relative: Measured,
    /// The other metrics.
    pub(super) secondary: Vec<Secondary>,
    #[serde(skip)]
    pub(super) quality: Result<Estimate, ExperimentError>,
    #[serde(skip)]
    pub(super) cost: Result<Estimate, ExperimentError>,
    /// The candidate's 95th percentile of the time to the first token minus the baseline's.
    #[serde(skip)]
    pub(super) ttft_p95: Result<Estimate, ExperimentError>,
}

/// A metric that decides nothing.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Secondary {
    /// Its name, with its unit.
    pub(super) metric: &'static str,
    /// The candidate minus the baseline.
    pub(super) difference: Measured,
    /// The p-value of no difference.
    pub(super) p_value: Option<f64>,
    /// The p-value after Holm's adjustment for all secondary metrics together.
    pub(super) holm_p_value: Option<f64>,
}

/// Enough for an interval; the same rows give the same one.
const BOOTSTRAP: ClusteredBootstrap = ClusteredBootstrap {
    resamples: 1000,
    seed: 1,
};

impl Comparison {
    pub(super) fn of(pair: &ArmPairRows, spec: &ExperimentSpec) -> Result<Self, ExperimentError> {
        let quality = pair.share_difference(|arm| pair.quality(arm));
        let cost = |own| pair.relative_cost(own);
        let loaded = cost(OwnCost::Loaded);
        let mut estimates = vec![
            (
                "failed_requests_share",
                pair.share_difference(|arm| pair.failures(arm)),
                None,
            ),
            (
                "empty_answers_share",
                pair.share_difference(|arm| pair.empty(arm)),
                None,
            ),
            (
                "output_tokens_per_answer",
                pair.difference(|arm| pair.output_tokens(arm)),
                None,
            ),
            (
                "usd_per_request_loaded",
                pair.difference(|arm| pair.usd_per_request(arm)),
                None,
            ),
        ];
        let [p50, p95] = ttft_quantiles(pair, spec)?;
        for (metric, found) in [("ttft_p50_seconds", p50), ("ttft_p95_seconds", p95)] {
            let interval = found.ok().map(|it| it.interval);
            estimates.push((metric, found.map(|it| it.difference), interval));
        }
        let mut secondary = Vec::new();
        for (metric, estimate, interval) in estimates {
            let p_value = estimate.and_then(|it| it.p_value(spec.inference, 0.0));
            let mut difference = Measured::of(estimate, spec)?;
            if let Some(interval) = interval {
                difference = difference.with_interval(interval, spec);
            }
            secondary.push(Secondary {
                metric,
                difference,
                p_value: p_value.ok(),
                holm_p_value: None,
            });
        }
        let known: Vec<f64> = secondary.iter().filter_map(|it| it.p_value).collect();
        let mut adjusted = holm(&known)?.into_iter();
        for metric in &mut secondary {
            metric.holm_p_value = metric.p_value.and_then(|_| adjusted.next());
        }
        Ok(Self {
            quality_difference: Measured::of(quality, spec)?,
            usd_per_accepted_busy_relative: Measured::of(cost(OwnCost::Busy), spec)?,
            usd_per_accepted_loaded_relative: Measured::of(loaded, spec)?,
            secondary,
            quality,
            cost: loaded,
            ttft_p95: p95.map(|it| it.difference),
        })
    }
}

/// The differences of median and 95th percentile of the time to the first token. They are most of the time
/// that a report takes, so each has a thread.
fn ttft_quantiles(
    pair: &ArmPairRows,
    spec: &ExperimentSpec,
) -> Result<[Result<QuantileDifference, ExperimentError>; 2], ExperimentError> {
    let [baseline, candidate] = [pair.ttft(0)?, pair.ttft(1)?];
    let at = |q| BOOTSTRAP.quantile_difference(&baseline, &candidate, q, spec.confidence);
    thread::scope(|scope| {
        let p50 = scope.spawn(|| at(0.5));
        let p95 = at(0.95);
        match p50.join() {
            Ok(p50) => Ok([p50, p95]),
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}
