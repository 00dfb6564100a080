//! `farthing experiment`: what an experiment has shown, from the ledger.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use farthing_gateway::{ExperimentSpec, Report, Route, RoutesFile};
use farthing_ledger::LedgerReader;
use jiff::Timestamp;

use super::ledger_arg::{LedgerArg, default_location};
use super::output;
use crate::visible::{visible_json, visible_lines};

/// Flags of `experiment`.
#[derive(Clone, Debug, Args)]
pub struct ExperimentArgs {
    #[command(subcommand)]
    command: ExperimentCommand,
}

#[derive(Clone, Debug, Subcommand)]
enum ExperimentCommand {
    /// Print the report of an experiment: figures, intervals, verdict
    Report(ReportArgs),
}

#[derive(Clone, Debug, Args)]
struct ReportArgs {
    /// The experiment's id
    #[arg(value_name = "ID")]
    id: String,
    /// The routes file, as in `serve --routes`
    #[arg(long, value_name = "FILE", env = "FARTHING_ROUTES")]
    routes: PathBuf,
    /// The ledger: a file or a postgres:// URL [default: that of `serve`]
    #[arg(
        long,
        value_name = "PATH|URL",
        env = "FARTHING_LEDGER",
        hide_env_values = true
    )]
    ledger: Option<LedgerArg>,
    /// Print JSON
    #[arg(long, conflicts_with = "html")]
    json: bool,
    /// Write one self-contained HTML file instead
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
}

/// Runs a subcommand of `experiment`.
///
/// # Errors
/// The routes file or the ledger cannot be used, or there is no such experiment.
pub fn run(args: ExperimentArgs) -> anyhow::Result<()> {
    let ExperimentCommand::Report(args) = args.command;
    let (spec, route) = args.planned()?;
    let location = match args.ledger {
        Some(LedgerArg::At(location)) => location,
        Some(LedgerArg::None) => bail!("a report needs a ledger: give its file or URL"),
        None => default_location()?,
    };
    let mut ledger = LedgerReader::open(&location)?;
    let now = Timestamp::now();
    let arms = [spec.baseline.as_str(), spec.candidate.as_str()];
    let split = route.split(arms, spec.started_us()?, now);
    let report = Report::compute(&mut ledger, &spec, &split, now.as_microsecond())?;
    if let Some(file) = &args.html {
        return fs::write(file, report.to_html())
            .with_context(|| format!("cannot write {}", file.display()));
    }
    if args.json {
        let json = serde_json::to_string_pretty(&report)?;
        return output::print_line(visible_json(&json));
    }
    output::print(visible_lines(&report.to_text()))
}

impl ReportArgs {
    fn planned(&self) -> anyhow::Result<(Arc<ExperimentSpec>, Arc<Route>)> {
        let file = self.routes.display();
        let text =
            fs::read_to_string(&self.routes).with_context(|| format!("cannot read {file}"))?;
        let routes = RoutesFile::parse(&text).with_context(|| format!("{file} cannot be used"))?;
        let spec = routes.experiments.get(&self.id);
        let found =
            spec.and_then(|spec| Some((spec.clone(), routes.routes.get(&spec.route)?.clone())));
        found.with_context(|| {
            let known: Vec<_> = routes.experiments.keys().map(String::as_str).collect();
            match known.as_slice() {
                [] => format!("{file} has no [[experiments]]"),
                known => format!(
                    "{file} has no experiment {:?}: it has {}",
                    self.id,
                    known.join(", ")
                ),
            }
        })
    }
}
