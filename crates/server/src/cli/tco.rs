//! `farthing tco`: what the same traffic costs at an API and on GPUs of one's own.

mod args;
mod report;

pub use args::TcoArgs;
use report::Report;

/// Reckons and prints.
///
/// # Errors
/// A figure is impossible, or one is missing that others need.
pub fn run(args: &TcoArgs) -> anyhow::Result<()> {
    let report = Report::new(args)?;
    if args.json {
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        print!("{report}");
    }
    Ok(())
}
