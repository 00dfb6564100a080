//! What `farthing selftest` does: every operation against its CPU twin on shapes that are easy to
//! get wrong, then a whole model, then how fast each operation is beside what the device can do, then
//! whole steps.

mod checks;
mod model;
mod rates;
mod side;
mod slow;
mod steps;

use serde::Serialize;

use farthing_model::{DeviceKind, ModelError};

pub use self::checks::Check;
pub use self::model::ModelCheck;
pub use self::rates::{DeviceLimits, OpRate, RateBelow};
pub use self::slow::SlowOp;
pub use self::steps::{
    AdapterTime, DecodeTime, PrefillTime, Shape, StepSeconds, StepTimes, StepsOptions,
};

/// A part of the test.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// Every operation against its twin.
    Checks,
    /// A whole model against its twin.
    Model,
    /// What each operation reaches of what the device can do.
    Rates,
    /// Whole steps of a model.
    Steps,
}

/// What to test, and how.
#[derive(Clone, Debug, PartialEq)]
pub struct SelfTestOptions {
    /// The device.
    pub device: DeviceKind,
    /// One part; else all.
    pub only: Option<Part>,
    /// Of the operations that are timed, only those with this in their name.
    pub op: Option<String>,
    /// The steps that are timed; operations are timed in the same shape.
    pub steps: StepsOptions,
}

/// All that was found.
#[derive(Clone, Debug, Serialize)]
pub struct SelfTest {
    /// The device, in words.
    pub device: String,
    /// Each operation against its twin.
    pub checks: Vec<Check>,
    /// A whole model against its twin, by kinds of rows.
    pub model: Vec<ModelCheck>,
    /// What the device can do at most; none where nothing was to be measured.
    pub limits: Option<DeviceLimits>,
    /// What each operation reaches of that.
    pub rates: Vec<OpRate>,
    /// Operations that are far slower than the same with fewer rows or at a lower level of
    /// instructions.
    pub slow: Vec<SlowOp>,
    /// Whole steps.
    pub steps: Option<StepTimes>,
}

impl SelfTest {
    /// Runs everything, or one part of it. `say` is given a line as soon as it is known.
    ///
    /// # Errors
    /// The device cannot be opened, or fails; a check that finds a difference is no error.
    pub fn run(options: &SelfTestOptions, say: &mut dyn FnMut(String)) -> Result<Self, ModelError> {
        let SelfTestOptions {
            device,
            only,
            op,
            steps,
        } = options;
        let (device, steps) = (*device, *steps);
        device.check()?;
        let has = |part: Part| only.is_none_or(|only| only == part);
        let mut report = Self {
            device: device.describe(),
            checks: Vec::new(),
            model: Vec::new(),
            limits: None,
            rates: Vec::new(),
            slow: Vec::new(),
            steps: None,
        };
        say(format!("device   {}", report.device));
        if has(Part::Checks) {
            report.checks = checks::run(device, say)?;
        }
        if has(Part::Model) {
            report.model = model::run(device, say)?;
        }
        if !has(Part::Rates) && !has(Part::Steps) {
            return Ok(report);
        }
        let limits = DeviceLimits::measure(device, steps.shape)?;
        report.limits = Some(limits);
        say(format!("\n{limits}"));
        if has(Part::Rates) {
            (report.rates, report.slow) =
                rates::measure(device, steps.shape, op.as_deref(), &limits, say)?;
        }
        if has(Part::Steps) {
            report.steps = Some(StepTimes::measure(device, steps, &limits, say)?);
        }
        Ok(report)
    }

    /// What does not agree with its twin: operations, and kinds of rows of a model.
    pub fn failed(&self) -> Vec<&'static str> {
        let checks = self.checks.iter().filter(|check| !check.passed());
        let model = self.model.iter().filter(|check| !check.passed());
        let ops = checks.map(|check| check.op);
        ops.chain(model.map(|check| check.case)).collect()
    }
}
