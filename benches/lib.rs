//! Code that several benchmarks share.

mod server_process;
mod step_loop;

pub use server_process::ServerProcess;
pub use step_loop::{Load, PassSeconds, StepLoop};

/// The middle value, of several.
pub fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut values: Vec<_> = values.into_iter().collect();
    values.sort_unstable_by(f64::total_cmp);
    values[values.len() / 2]
}
