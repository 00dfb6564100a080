//! The speed of one operation.

use std::fmt;

use serde::Serialize;

/// The speed of one operation.
#[derive(Clone, Debug, Serialize)]
pub struct OpRate {
    /// The operation and its shape.
    pub op: String,
    /// Seconds of one call.
    pub seconds: f64,
    /// Bytes per second that it has to move.
    pub bytes_per_second: f64,
    /// Floating-point operations per second.
    pub flops: f64,
    /// Minimum time by the device's limits, divided by the measured time.
    pub share: f64,
    /// The same at the next lower level of instructions; `None` on a GPU and at the lowest level.
    pub below: Option<RateBelow>,
}

/// Speed at a lower level of instructions.
#[derive(Clone, Debug, Serialize)]
pub struct RateBelow {
    /// The level.
    pub level: String,
    /// Seconds of one call.
    pub seconds: f64,
}

impl OpRate {
    /// The operation without its shape.
    pub(crate) fn name(&self) -> &str {
        self.op.split(',').next().unwrap_or_default()
    }

    /// Operations per second, or bytes per second for operations that compute almost nothing.
    pub(crate) fn speed(&self) -> f64 {
        if self.flops > 0.0 {
            self.flops
        } else {
            self.bytes_per_second
        }
    }
}

impl fmt::Display for OpRate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:<40} {:>9.1} µs {:>9.1} {:>10.3} {:>6.0} %",
            self.op,
            self.seconds * 1e6,
            self.bytes_per_second / 1e9,
            self.flops / 1e12,
            self.share * 100.0
        )
    }
}
