//! `farthing selftest`: compares every operation with its reference on the CPU, then a whole model,
//! then measures the speed of each operation relative to the device's limits, then of whole steps.

mod checks;
mod device_limits;
mod model;
mod op_rate;
mod rates;
mod shape;
mod side;
mod slow;
mod steps;
mod timing;

use serde::Serialize;

use farthing_model::{DeviceKind, ModelError};

pub use self::checks::Check;
pub use self::device_limits::DeviceLimits;
pub use self::model::ModelCheck;
pub use self::op_rate::{OpRate, RateBelow};
pub use self::shape::Shape;
pub use self::slow::SlowOp;
pub use self::steps::{AdapterTime, DecodeTime, PrefillTime, StepSeconds, StepTimes, StepsOptions};

/// A part of the selftest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// Every operation compared with its reference.
    Checks,
    /// A whole model compared with its reference.
    Model,
    /// The speed of each operation relative to the device's limits.
    Rates,
    /// The speed of whole steps of a model.
    Steps,
}

/// What to test.
#[derive(Clone, Debug, PartialEq)]
pub struct SelfTestOptions {
    /// The device.
    pub device: DeviceKind,
    /// Run only this part.
    pub only: Option<Part>,
    /// Time only operations with this in their name.
    pub op: Option<String>,
    /// The steps to time. Operations are timed in the same shape.
    pub steps: StepsOptions,
}

/// The results.
#[derive(Clone, Debug, Serialize)]
pub struct SelfTest {
    /// Description of the device.
    pub device: String,
    /// Every operation compared with its reference.
    pub checks: Vec<Check>,
    /// A whole model compared with its reference, by kind of row.
    pub model: Vec<ModelCheck>,
    /// The device's limits; `None` if nothing was timed.
    pub limits: Option<DeviceLimits>,
    /// The speed of each operation.
    pub rates: Vec<OpRate>,
    /// Operations that are far slower than with fewer rows, or than at a lower level of
    /// instructions.
    pub slow: Vec<SlowOp>,
    /// The speed of whole steps.
    pub steps: Option<StepTimes>,
}

impl SelfTest {
    /// Runs all parts or one of them. `say` receives each line of output as soon as it is known.
    ///
    /// # Errors
    /// The device cannot be opened, or fails. A check that finds a difference is not an error.
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

    /// The operations and the kinds of rows that do not agree with their reference.
    pub fn failed(&self) -> Vec<&'static str> {
        let checks = self.checks.iter().filter(|check| !check.passed());
        let model = self.model.iter().filter(|check| !check.passed());
        let ops = checks.map(|check| check.op);
        ops.chain(model.map(|check| check.case)).collect()
    }
}
