//! `cargo xtask tidy` and `cargo xtask prices`: see [`xtask::tidy`] and [`xtask::prices`].

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use xtask::prices::{self, PricesArgs};

/// Tasks for the whole workspace.
#[derive(Parser)]
#[command(bin_name = "cargo xtask")]
enum Task {
    /// Check the project's own rules
    Tidy {
        /// The root of the workspace
        #[arg(default_value = ".")]
        root: PathBuf,
    },
    /// Write the price books from two catalogues, where they agree
    Prices(PricesArgs),
}

fn main() -> anyhow::Result<ExitCode> {
    let is_well = match Task::parse() {
        Task::Tidy { root } => {
            let report = xtask::tidy::check(&root)?;
            println!("{report}");
            report.is_tidy()
        }
        Task::Prices(args) => {
            let import = prices::import(&args)?;
            print!("{import}");
            import.is_without_conflicts()
        }
    };
    Ok(if is_well {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
