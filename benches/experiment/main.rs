//! Measures by simulation how often the statistics of experiments are wrong, and how long a report
//! over a million rows takes.
//!
//!     cargo bench -p farthing-experiment --bench experiment [-- --scale 1]
//!
//! Each figure has a limit, and the run ends with status 1 if one is missed. The same seeds give the
//! same figures on every machine.

mod coverage;
mod false_alarms;
mod population;
mod power;
mod report_time;
mod simulation;

use std::process::ExitCode;

use clap::Parser;
use simulation::{Finding, Simulation};

#[derive(Parser)]
struct Args {
    /// Multiplies the number of simulated experiments; a tenth is a quick trial
    #[arg(long, default_value_t = 1.0)]
    scale: f64,
    /// Other seeds: experiments from this number on
    #[arg(long, default_value_t = 0)]
    first: u64,
    /// Run only the parts whose name contains this
    #[arg(long, default_value = "")]
    only: String,
    /// Given by cargo
    #[arg(long, hide = true)]
    bench: bool,
}

type Part = fn(Simulation) -> anyhow::Result<Vec<Finding>>;

const PARTS: [(&str, Part); 5] = [
    ("false alarms", false_alarms::of_verdicts),
    ("sample ratio", false_alarms::of_sample_ratios),
    ("coverage", coverage::measure),
    ("power", power::measure),
    ("report", report_time::measure),
];

fn main() -> anyhow::Result<ExitCode> {
    let args = Args::parse();
    let simulation = Simulation {
        scale: args.scale,
        first: args.first,
    };
    let mut passed = true;
    for (name, part) in PARTS {
        if !name.contains(&args.only) {
            continue;
        }
        println!("{name}");
        for finding in part(simulation)? {
            passed &= finding.passes();
            println!("  {finding}");
        }
    }
    Ok(if passed {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
