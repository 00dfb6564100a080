//! `farthing ledger`: what the ledger tells, on the command line.

mod table;

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use chrono::{DateTime, NaiveDate, NaiveTime, Utc};
use clap::{Args, Subcommand};
use farthing_ledger::{ExportFormat, Filter, GroupBy, LedgerReader, Location, Window};

use crate::cli::ledger_arg::{LedgerArg, default_location};

/// Flags of `ledger`.
#[derive(Clone, Debug, Args)]
pub struct LedgerArgs {
    #[command(subcommand)]
    command: LedgerCommand,
}

#[derive(Clone, Debug, Subcommand)]
enum LedgerCommand {
    /// Print what a window came to: its requests, and what else the device's time went on
    Invoice {
        #[command(flatten)]
        source: Source,
        /// Columns to tell requests apart by: tenant, model, adapter, user, api_key
        #[arg(long, value_name = "COLUMN", value_delimiter = ',', value_enum)]
        group_by: Vec<Column>,
        /// Print all figures as JSON
        #[arg(long)]
        json: bool,
    },
    /// Write a window's rows to a file
    Export {
        #[command(flatten)]
        source: Source,
        /// csv or parquet
        #[arg(long)]
        format: ExportFormat,
        /// The file to write; - is the standard output
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
    },
}

/// Which rows of which ledger.
#[derive(Clone, Debug, Args)]
struct Source {
    /// Where the ledger is: a file or a postgres:// URL [default: where `serve` keeps it]
    #[arg(
        long,
        value_name = "PATH|URL",
        env = "FARTHING_LEDGER",
        hide_env_values = true
    )]
    ledger: Option<LedgerArg>,
    /// Begin of the window: 2026-11-24, 2026-11-24T06:00Z or seconds since 1970 [default: 1970]
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    from: Option<i64>,
    /// End of the window, itself not in it [default: now]
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    to: Option<i64>,
}

/// What requests can be told apart by.
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
/// The ledger cannot be read, or the file not written.
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
                println!("{:#}", table::json(&invoice));
            } else {
                print!("{}", table::text(&invoice));
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
                ledger.export(window, format, io::stdout())?;
            } else {
                let rows = write_whole(&out, |file| Ok(ledger.export(window, format, file)?))?;
                eprintln!("{rows} rows in {}", out.display());
            }
        }
    }
    Ok(())
}

impl Source {
    fn open(&self) -> anyhow::Result<LedgerReader> {
        Ok(LedgerReader::open(&self.location()?)?)
    }

    fn location(&self) -> anyhow::Result<Location> {
        match &self.ledger {
            Some(LedgerArg::At(location)) => Ok(location.clone()),
            Some(LedgerArg::None) => bail!("--ledger none: there is nothing to read"),
            None => default_location(),
        }
    }

    /// In whole minutes, outwards.
    fn window(&self) -> anyhow::Result<Window> {
        let from = self.from.unwrap_or(0);
        let to = self.to.unwrap_or_else(|| Utc::now().timestamp() + 1);
        Ok(Window::new(
            from - from.rem_euclid(60),
            to + (-to).rem_euclid(60),
        )?)
    }
}

/// A file appears under its name once it is complete.
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
        // What is half-written helps nobody; that it could not be removed is told by its being there.
        let _ = fs::remove_file(&partial);
    }
    written
}

/// Seconds since 1970 of a date, a moment, or themselves.
fn parse_time(text: &str) -> Result<i64, String> {
    if let Ok(seconds) = text.parse() {
        return Ok(seconds);
    }
    if let Ok(date) = text.parse::<NaiveDate>() {
        return Ok(date.and_time(NaiveTime::MIN).and_utc().timestamp());
    }
    let moment = DateTime::parse_from_rfc3339(text)
        // Without seconds, as people write it.
        .or_else(|_| DateTime::parse_from_str(text, "%Y-%m-%dT%H:%M%#z"));
    moment.map(|moment| moment.timestamp()).map_err(|_| {
        "write a date (2026-11-24), a moment (2026-11-24T06:00Z) or seconds since 1970".to_owned()
    })
}

#[cfg(test)]
mod tests;
