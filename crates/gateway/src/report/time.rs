//! Which requests are compared, and how busy our device was meanwhile.

use farthing_ledger::{DeviceUse, ExperimentRows, LedgerReader, Window};
use rust_decimal::Decimal;
use serde::Serialize;

use super::{ReportError, Split};
use crate::ExperimentSpec;
use crate::experiment_spec::Moment;

const MICROS: i64 = 1_000_000;
const MINUTE: i64 = 60;

/// The time whose requests are compared.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Period {
    /// The first moment (RFC 3339).
    from: String,
    /// The last moment (RFC 3339).
    until: String,
    #[serde(skip)]
    pub(super) from_us: i64,
    #[serde(skip)]
    pub(super) until_us: i64,
    /// Why it does not begin with the experiment.
    begins_late_because: Option<String>,
}

/// How busy our devices were.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Load {
    /// All device time in the period.
    pub(super) window_device_seconds: f64,
    /// The part of it in which the engine computed.
    pub(super) step_device_seconds: f64,
    /// Loaded cost = busy cost × this; `None` if there were no steps.
    pub(super) factor: Option<f64>,
    #[serde(skip)]
    pub(super) used: DeviceUse,
}

pub(super) fn rfc3339(us: i64) -> String {
    Moment::of_microseconds(us).rfc3339()
}

impl Period {
    /// The period, and the current names of the baseline and the candidate. An arm of ours is pinned
    /// to its adapter's generation, `arm@generation`: the latest one is compared, since it began.
    pub(super) fn of(
        ledger: &mut LedgerReader,
        spec: &ExperimentSpec,
        split: &Split,
        now_us: i64,
    ) -> Result<(Self, [String; 2]), ReportError> {
        let started_us = spec.started_us()?;
        let until_us = now_us.max(started_us.saturating_add(1));
        let rows = ExperimentRows {
            experiment: spec.id.clone(),
            from_us: started_us,
            until_us,
        };
        let assigned = ledger.assigned_arms(&rows)?;
        let (mut from_us, mut because) = (started_us, None);
        if split.since_us > from_us {
            from_us = split.since_us;
            because = Some("the weights of the arms changed".to_owned());
        }
        let current = [&spec.baseline, &spec.candidate].map(|arm| {
            let is_of_arm = |name: &str| base_name(name) == arm;
            let generations = assigned.iter().filter(|it| is_of_arm(&it.arm));
            let Some(latest) = generations.clone().max_by_key(|it| it.last_us) else {
                return arm.clone();
            };
            if generations.count() > 1 && latest.first_us > from_us {
                from_us = latest.first_us;
                because = Some(format!("a new generation began: {}", latest.arm));
            }
            latest.arm.clone()
        });
        let period = Self {
            from: rfc3339(from_us),
            until: rfc3339(until_us),
            from_us,
            until_us: until_us.max(from_us.saturating_add(1)),
            begins_late_because: because,
        };
        Ok((period, current))
    }

    /// The part of the experiment before it, whose requests are not compared.
    pub(super) fn earlier(&self, spec: &ExperimentSpec) -> Result<Option<Self>, ReportError> {
        let started_us = spec.started_us()?;
        Ok((started_us < self.from_us).then(|| Self {
            from: rfc3339(started_us),
            until: self.from.clone(),
            from_us: started_us,
            until_us: self.from_us,
            begins_late_because: None,
        }))
    }

    pub(super) fn days(&self) -> f64 {
        (self.until_us - self.from_us) as f64 / 86_400e6
    }

    pub(super) fn text(&self) -> String {
        format!("{} to {}", self.from, self.until)
    }

    pub(super) fn notes(&self) -> Option<String> {
        let because = self.begins_late_because.as_ref()?;
        let from = &self.from;
        Some(format!(
            "Only requests since {from} are compared: {because}."
        ))
    }
}

/// The arm without the generation of its adapter.
pub(super) fn base_name(arm: &str) -> &str {
    arm.split_once('@').map_or(arm, |(base, _)| base)
}

impl Load {
    pub(super) fn of(ledger: &mut LedgerReader, period: &Period) -> Result<Self, ReportError> {
        let from = period.from_us.div_euclid(MICROS).div_euclid(MINUTE) * MINUTE;
        let until = (period.until_us.div_euclid(MICROS).div_euclid(MINUTE) + 1) * MINUTE;
        let until = until.clamp(MINUTE, Window::ALL.end());
        let window = Window::new(from.clamp(0, until - MINUTE), until)?;
        let used = ledger.device_use(window)?;
        let (window, steps) = (used.window.as_secs_f64(), used.steps.as_secs_f64());
        Ok(Self {
            window_device_seconds: window,
            step_device_seconds: steps,
            factor: (steps > 0.0).then(|| (window / steps).max(1.0)),
            used,
        })
    }

    /// The loaded cost of a busy cost.
    pub(super) fn loaded(&self, busy: Decimal) -> Option<Decimal> {
        if busy.is_zero() {
            return Some(busy);
        }
        let (window, steps) = (self.used.window.seconds(), self.used.steps.seconds());
        let factor = window.checked_div(steps).filter(|it| *it >= Decimal::ONE);
        factor?.checked_mul(busy)
    }
}
