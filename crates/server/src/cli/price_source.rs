//! Where prices come from on the command line, and how each one's source is shown.

use std::fs;
use std::path::PathBuf;

use anyhow::Context;
use farthing_economics::{PriceBook, Provenance};
use jiff::civil::Date;

use crate::clock::today;

/// Which book, and of which day.
#[derive(Clone, Debug, clap::Args)]
pub struct PriceSourceArgs {
    /// A price book of your own in TOML, before the one that Farthing comes with; may be repeated
    #[arg(long = "prices", value_name = "FILE")]
    pub books: Vec<PathBuf>,
    /// The day whose prices hold [default: today, in UTC]
    #[arg(long, value_name = "YYYY-MM-DD", value_parser = day)]
    pub on: Option<Date>,
}

impl PriceSourceArgs {
    /// The shipped book with the operator's own rows.
    pub(crate) fn book(&self) -> anyhow::Result<PriceBook> {
        let mut book = PriceBook::shipped()?;
        for path in &self.books {
            let text = fs::read_to_string(path);
            let text = text.with_context(|| format!("cannot read {}", path.display()))?;
            book.extend(&text)
                .with_context(|| path.display().to_string())?;
        }
        Ok(book)
    }

    /// The day whose prices hold.
    pub(crate) fn day(&self) -> Date {
        self.on.unwrap_or_else(today)
    }
}

/// `read 2026-11-10, https://…` with a mark where it is stale.
pub(crate) fn shown_source(provenance: &Provenance) -> String {
    let stale = match (provenance.undated_copy, provenance.is_stale(today())) {
        (true, _) => "STALE: from a copy without a date, ",
        (false, true) => "STALE, ",
        (false, false) => "",
    };
    format!("{stale}read {}, {}", provenance.read_on, provenance.source)
}

fn day(text: &str) -> Result<Date, String> {
    text.parse()
        .map_err(|_| "write a day as 2026-11-24".to_owned())
}
