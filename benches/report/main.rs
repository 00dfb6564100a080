//! Measures how long an assignment takes beside rows, and how long the report over a million ledger
//! rows takes.
//!
//!     cargo bench -p farthing-gateway --bench report [-- --rows 1000000 --seconds 20]
//!
//! It uses SQLite in a temporary directory. Ends with status 1 if a limit is missed.

mod assigning;
mod million;
mod rows;

use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;

#[derive(Parser)]
struct Args {
    /// Ledger rows of the report, one attempt each
    #[arg(long, default_value_t = 1_000_000)]
    rows: u32,
    /// How long assignments are timed
    #[arg(long, default_value_t = 20)]
    seconds: u32,
    /// Given by cargo
    #[arg(long, hide = true)]
    bench: bool,
}

const LONGEST_ASSIGNMENT: Duration = Duration::from_millis(2);
const LONGEST_REPORT: Duration = Duration::from_secs(3);

fn main() -> anyhow::Result<ExitCode> {
    let args = Args::parse();
    let directory = tempfile::tempdir()?;
    let mut passed = true;

    let took = assigning::measure(&directory.path().join("assigning.sqlite3"), args.seconds)?;
    let at = |times: &[Duration], share: f64| times[((times.len() - 1) as f64 * share) as usize];
    for (what, times) in [
        ("assignments at 200/s beside 200 rows/s", &took.assignments),
        (
            "questions to an idle thread at the same moments",
            &took.echoes,
        ),
    ] {
        println!(
            "{} {what}: median {:?}, p99 {:?}, longest {:?}",
            times.len(),
            at(times, 0.5),
            at(times, 0.99),
            at(times, 1.0)
        );
    }
    passed &= at(&took.assignments, 0.99) <= LONGEST_ASSIGNMENT;

    for requests_per_unit in [20, 1] {
        let path = directory
            .path()
            .join(format!("{requests_per_unit}.sqlite3"));
        let took = million::measure(&path, args.rows, requests_per_unit)?;
        println!(
            "{} rows, {requests_per_unit} requests per unit: {took:?} for a report as JSON, text and HTML",
            args.rows
        );
        passed &= took <= LONGEST_REPORT;
    }
    Ok(if passed {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
