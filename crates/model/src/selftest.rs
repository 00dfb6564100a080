//! What `farthing selftest` does: every operation against its CPU twin on shapes that are easy to
//! get wrong, then how fast each is beside what the device can do, then whole steps.

mod checks;
mod rates;
mod side;
mod steps;

use serde::Serialize;

use crate::{DeviceKind, ModelError};

pub use self::checks::Check;
pub use self::rates::{DeviceLimits, OpRate};
pub use self::steps::{AdapterTime, DecodeTime, PrefillTime, Shape, StepSeconds, StepTimes};

/// A third of the test.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// Every operation against its twin.
    Checks,
    /// What each operation reaches of what the device can do.
    Rates,
    /// Whole steps of a model.
    Steps,
}

/// All that was found.
#[derive(Clone, Debug, Serialize)]
pub struct SelfTest {
    /// The device, in words.
    pub device: String,
    /// Each operation against its twin.
    pub checks: Vec<Check>,
    /// What the device can do at most; none where only the checks were asked for.
    pub limits: Option<DeviceLimits>,
    /// What each operation reaches of that.
    pub rates: Vec<OpRate>,
    /// Whole steps.
    pub steps: Option<StepTimes>,
}

impl SelfTest {
    /// Runs everything, or one part of it. `say` is given a line as soon as it is known.
    ///
    /// # Errors
    /// The device cannot be opened, or fails; a check that finds a difference is no error.
    pub fn run(
        device: DeviceKind,
        shape: Shape,
        only: Option<Part>,
        say: &mut dyn FnMut(String),
    ) -> Result<Self, ModelError> {
        device.check()?;
        let has = |part: Part| only.is_none_or(|only| only == part);
        let mut report = Self {
            device: device.describe(),
            checks: Vec::new(),
            limits: None,
            rates: Vec::new(),
            steps: None,
        };
        say(format!("device   {}", report.device));
        if has(Part::Checks) {
            report.checks = checks::run(device, say)?;
        }
        if only == Some(Part::Checks) {
            return Ok(report);
        }
        let limits = DeviceLimits::measure(device)?;
        report.limits = Some(limits);
        say(format!("\n{limits}"));
        if has(Part::Rates) {
            report.rates = rates::measure(device, &limits, say)?;
        }
        if has(Part::Steps) {
            report.steps = Some(StepTimes::measure(device, shape, &limits, say)?);
        }
        Ok(report)
    }

    /// Whether every operation agrees with its twin.
    pub fn passed(&self) -> bool {
        self.checks.iter().all(Check::passed)
    }
}
