//! Code that several benchmarks share.

mod step_loop;

pub use step_loop::{Load, PassSeconds, StepLoop};
