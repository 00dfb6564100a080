//! `farthing ledger`: reports from the ledger.

mod csv_on_terminal;
mod table;

use std::fs::{self, File};
use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use chrono::{DateTime, NaiveDate, NaiveTime, Utc};
use clap::{Args, Subcommand};
use farthing_ledger::{ExportFormat, Filter, GroupBy, LedgerReader, Location, Window};

use crate::cli::ledger_arg::{LedgerArg, default_location};
use crate::cli::output;
use crate::visible::visible_json;
use csv_on_terminal::CsvOnTerminal;

/// Flags of `ledger`.
#[derive(Clone, Debug, Args)]
pub struct LedgerArgs {
    #[command(subcommand)]
    command: LedgerCommand,
}

#[derive(Clone, Debug, Subcommand)]
enum LedgerCommand {
    /// Print the invoice of a window: its requests, and the device time beside them
    Invoice {
        #[command(flatten)]
        source: Source,
        /// Columns to group requests by: tenant, model, adapter, user, api_key
        #[arg(long, value_name = "COLUMN", value_delimiter = ',', value_enum)]
        group_by: Vec<Column>,
        /// Print all figures as JSON
        #[arg(long)]
        json: bool,
    },
    /// Write the rows of a window to a file
    Export {
        #[command(flatten)]
        source: Source,
        /// csv or parquet
        #[arg(long)]
        format: ExportFormat,
        /// File to write; - is standard output
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
    },
}

/// The ledger and the window.
#[derive(Clone, Debug, Args)]
struct Source {
    /// The ledger: a file or a postgres:// URL [default: that of `serve`]
    #[arg(
        long,
        value_name = "PATH|URL",
        env = "FARTHING_LEDGER",
        hide_env_values = true
    )]
    ledger: Option<LedgerArg>,
    /// Start of the window: 2026-11-24, 2026-11-24T06:00Z or seconds since 1970 [default: 1970]
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    from: Option<i64>,
    /// End of the window, exclusive [default: now]
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    to: Option<i64>,
}

/// Columns to group requests by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
#[value(rename_all = "snake_case")]
enum Column {
    Tenant,
    Model,
    Adapter,
    User,
    ApiKey,
}

/// Runs a subcommand of `ledger`.
///
/// # Errors
/// The ledger cannot be read, or the file cannot be written.
pub fn run(args: LedgerArgs) -> anyhow::Result<()> {
    match args.command {
        LedgerCommand::Invoice {
            source,
            group_by,
            json,
        } => {
            let window = source.window()?;
            let groups = |column| group_by.contains(&column);
            let group_by = GroupBy {
                model: groups(Column::Model),
                adapter: groups(Column::Adapter),
                tenant: groups(Column::Tenant),
                user: groups(Column::User),
                api_key: groups(Column::ApiKey),
            };
            let invoice = source
                .open()?
                .invoice(window, group_by, &Filter::default())?;
            if json {
                output::print_line(visible_json(&format!("{:#}", table::json(&invoice))))?;
            } else {
                output::print(table::text(&invoice))?;
            }
        }
        LedgerCommand::Export {
            source,
            format,
            out,
        } => {
            let window = source.window()?;
            let mut ledger = source.open()?;
            if out == Path::new("-") {
                export_to_stdout(&mut ledger, window, format)?;
            } else {
                let rows = write_whole(&out, |file| Ok(ledger.export(window, format, file)?))?;
                output::tell(&format!("{rows} rows in {}", out.display()));
            }
        }
    }
    Ok(())
}

fn export_to_stdout(
    ledger: &mut LedgerReader,
    window: Window,
    format: ExportFormat,
) -> anyhow::Result<()> {
    let stdout = io::stdout();
    match format {
        _ if !stdout.is_terminal() => ledger.export(window, format, stdout)?,
        ExportFormat::Csv => ledger.export(window, format, CsvOnTerminal::new(stdout))?,
        ExportFormat::Parquet => {
            bail!("Parquet is nothing to read on a terminal: name a file with --out")
        }
    };
    Ok(())
}

impl Source {
    fn open(&self) -> anyhow::Result<LedgerReader> {
        Ok(LedgerReader::open(&self.location()?)?)
    }

    fn location(&self) -> anyhow::Result<Location> {
        match &self.ledger {
            Some(LedgerArg::At(location)) => Ok(location.clone()),
            Some(LedgerArg::None) => bail!("no ledger to read: --ledger is none"),
            None => default_location(),
        }
    }

    /// The window, extended to whole minutes.
    fn window(&self) -> anyhow::Result<Window> {
        let from = self.from.unwrap_or(0);
        let to = self.to.unwrap_or_else(|| Utc::now().timestamp() + 1);
        Ok(Window::new(
            from - from.rem_euclid(60),
            to + (-to).rem_euclid(60),
        )?)
    }
}

/// Writes a file that gets its name only when it is complete.
fn write_whole<T>(
    path: &Path,
    write: impl FnOnce(&File) -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    let mut partial = path.as_os_str().to_owned();
    partial.push(".partial");
    let partial = PathBuf::from(partial);
    let file =
        File::create(&partial).with_context(|| format!("cannot write {}", partial.display()))?;
    let written = write(&file).and_then(|written| {
        file.sync_all()?;
        fs::rename(&partial, path).with_context(|| format!("cannot write {}", path.display()))?;
        Ok(written)
    });
    if written.is_err() {
        // An incomplete file is useless. If it cannot be removed, it keeps its temporary name.
        let _ = fs::remove_file(&partial);
    }
    written
}

/// Parses a date, a timestamp or seconds since 1970.
fn parse_time(text: &str) -> Result<i64, String> {
    if let Ok(seconds) = text.parse() {
        return Ok(seconds);
    }
    if let Ok(date) = text.parse::<NaiveDate>() {
        return Ok(date.and_time(NaiveTime::MIN).and_utc().timestamp());
    }
    let moment = DateTime::parse_from_rfc3339(text)
        // Seconds may be left out.
        .or_else(|_| DateTime::parse_from_str(text, "%Y-%m-%dT%H:%M%#z"));
    moment.map(|moment| moment.timestamp()).map_err(|_| {
        "expected a date (2026-11-24), a time (2026-11-24T06:00Z) or seconds since 1970".to_owned()
    })
}

#[cfg(test)]
mod tests;
