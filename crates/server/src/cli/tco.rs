//! `farthing tco`: the cost of the same traffic at an API and on own GPUs.

mod args;
mod report;

pub use args::TcoArgs;
use report::Report;

/// Computes and prints the figures.
///
/// # Errors
/// A figure is impossible, or an input is missing.
pub fn run(args: &TcoArgs) -> anyhow::Result<()> {
    let report = Report::new(args)?;
    if args.json {
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        print!("{report}");
    }
    Ok(())
}
