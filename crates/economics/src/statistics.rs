//! Confidence intervals of measured figures. Measurements are floats.

mod bootstrap;
mod normal;
mod split_mix;
mod wilson;

pub use bootstrap::{BootstrapError, MovingBlockBootstrap, quantile, resampled_sum};
pub use normal::normal_quantile;
pub use split_mix::SplitMix64;
pub use wilson::wilson_interval;

/// A confidence interval.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct Interval {
    /// The lower end.
    pub low: f64,
    /// The upper end.
    pub high: f64,
}
