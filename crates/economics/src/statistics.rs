//! How far a measured figure can be trusted. Measurements are floats; money stays out of here
//! until its error is known.

mod bootstrap;
mod normal;
mod wilson;

pub use bootstrap::{BootstrapError, MovingBlockBootstrap, quantile, resampled_sum};
pub use normal::normal_quantile;
pub use wilson::wilson_interval;

/// Where a figure lies with a stated confidence.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct Interval {
    /// The lower end.
    pub low: f64,
    /// The upper end.
    pub high: f64,
}
