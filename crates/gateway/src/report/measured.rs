//! A figure with its interval, or why there is none.

use farthing_economics::statistics::Interval;
use farthing_experiment::{Estimate, ExperimentError, Inference};
use serde::Serialize;

use crate::ExperimentSpec;

/// A figure with its interval, or why there is none.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Measured {
    /// The figure.
    pub(super) value: Option<f64>,
    /// The standard error.
    pub(super) standard_error: Option<f64>,
    /// The interval at the experiment's confidence and inference.
    pub(super) interval: Option<Interval>,
    /// Why something is missing.
    pub(super) missing_because: Option<String>,
}

impl Measured {
    pub(super) fn of(
        estimate: Result<Estimate, ExperimentError>,
        spec: &ExperimentSpec,
    ) -> Result<Self, ExperimentError> {
        let interval = estimate.and_then(|it| it.interval(spec.inference, spec.confidence));
        for error in [estimate.err(), interval.err()].into_iter().flatten() {
            if !error.is_for_now() {
                return Err(error);
            }
        }
        Ok(Self {
            value: estimate.ok().map(|it| it.value),
            standard_error: estimate.ok().map(|it| it.standard_error),
            interval: interval.ok(),
            missing_because: interval.err().map(|error| error.to_string()),
        })
    }

    /// What cannot be known, whatever the figures are.
    pub(super) fn missing(because: &str) -> Self {
        Self {
            value: None,
            standard_error: None,
            interval: None,
            missing_because: Some(because.to_owned()),
        }
    }

    /// With another interval, if this one holds at one look only and so does that.
    pub(super) fn with_interval(mut self, interval: Interval, spec: &ExperimentSpec) -> Self {
        if matches!(spec.inference, Inference::FixedHorizon { .. }) {
            self.interval = Some(interval);
        }
        self
    }
}
