//! The location of the ledger on the command line.

use std::env;
use std::path::PathBuf;
use std::str::FromStr;

use anyhow::Context;
use farthing_ledger::Location;

/// The value of `--ledger`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LedgerArg {
    /// No ledger.
    None,
    /// A ledger at this location.
    At(Location),
}

impl FromStr for LedgerArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "none" => Ok(Self::None),
            _ => text.parse().map(Self::At),
        }
    }
}

/// `$XDG_DATA_HOME/farthing/ledger.sqlite3`, else `~/.local/share/farthing/ledger.sqlite3`.
pub(crate) fn default_location() -> anyhow::Result<Location> {
    let variable = |name| {
        let value = env::var_os(name).filter(|value| !value.is_empty());
        value.map(PathBuf::from)
    };
    let data = variable("XDG_DATA_HOME")
        .or_else(|| Some(variable("HOME")?.join(".local").join("share")))
        .context(
            "no directory for the ledger: set HOME or XDG_DATA_HOME, or pass --ledger FILE or --ledger \
             none",
        )?;
    Ok(Location::Sqlite(
        data.join("farthing").join("ledger.sqlite3"),
    ))
}
