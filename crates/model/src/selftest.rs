//! What `farthing selftest` does: every operation against its CPU twin on shapes that are easy to
//! get wrong, then how fast each is beside what the device can do, then whole decode steps.

mod checks;
mod decode;
mod rates;
mod side;

use serde::Serialize;

use crate::{DeviceKind, ModelError};

pub use self::checks::Check;
pub use self::decode::{DecodeTime, StepSeconds};
pub use self::rates::{DeviceLimits, OpRate};

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
    pub decode: Vec<DecodeTime>,
}

impl SelfTest {
    /// Runs everything, or the checks alone. `say` is given a line as soon as it is known.
    ///
    /// # Errors
    /// The device cannot be opened, or fails; a check that finds a difference is no error.
    pub fn run(
        device: DeviceKind,
        checks_only: bool,
        say: &mut dyn FnMut(String),
    ) -> Result<Self, ModelError> {
        let description = device.describe();
        device.check()?;
        say(format!("device   {description}"));
        say(format!("\n{}", Check::HEADING));
        let mut checks = Vec::new();
        for check in checks::ALL {
            let result = check(device)?;
            say(result.to_string());
            checks.push(result);
        }
        let mut report = Self {
            device: description,
            checks,
            limits: None,
            rates: Vec::new(),
            decode: Vec::new(),
        };
        if checks_only {
            return Ok(report);
        }
        let limits = DeviceLimits::measure(device)?;
        report.limits = Some(limits);
        say(format!("\n{limits}\n\n{}", OpRate::HEADING));
        report.rates = rates::measure(device, &limits, &mut |rate: &OpRate| say(rate.to_string()))?;
        say(format!("\n{}", DecodeTime::HEADING));
        let mut tell = |time: &DecodeTime| say(time.to_string());
        report.decode = decode::measure(device, &limits, &mut tell)?;
        Ok(report)
    }

    /// Whether every operation agrees with its twin.
    pub fn passed(&self) -> bool {
        self.checks.iter().all(Check::passed)
    }
}
