//! `farthing tco`: the cost of the same traffic at an API and on own GPUs.

mod args;
mod report;

use super::output;
pub use args::TcoArgs;
use report::Report;

/// Computes and prints the figures.
///
/// # Errors
/// A figure is impossible, or an input is missing.
pub fn run(args: &TcoArgs) -> anyhow::Result<()> {
    let report = Report::new(args)?;
    if args.json {
        output::print_line(serde_json::to_string_pretty(&report)?)?;
    } else {
        output::print(report)?;
    }
    Ok(())
}
