//! The source of prices on the command line, and how it is shown.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, anyhow};
use farthing_economics::{PriceBook, PriceBookError, Provenance, TokenPrice};
use jiff::civil::Date;

use crate::clock::today;

/// The price books and the day.
#[derive(Clone, Debug, clap::Args)]
pub struct PriceSourceArgs {
    /// Price book in TOML that takes precedence over the shipped one; may be repeated
    #[arg(long = "prices", value_name = "FILE")]
    pub books: Vec<PathBuf>,
    /// Day of the prices [default: today, in UTC]
    #[arg(long, value_name = "YYYY-MM-DD", value_parser = day)]
    pub on: Option<Date>,
}

impl PriceSourceArgs {
    /// The shipped book with the rows of the given books.
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

    /// The day of the prices.
    pub(crate) fn day(&self) -> Date {
        self.on.unwrap_or_else(today)
    }
}

/// The price of a model on a day.
///
/// # Errors
/// There is none, or several vendors have one.
pub(crate) fn token_price<'a>(
    book: &'a PriceBook,
    name: &str,
    day: Date,
) -> anyhow::Result<&'a TokenPrice> {
    book.token_price(name, day).map_err(|error| match error {
        PriceBookError::NoSuchModel { ref similar, .. } if similar.is_empty() => {
            anyhow!("{error}: `farthing price --list` shows the known models")
        }
        error => error.into(),
    })
}

/// `read 2026-11-10, https://…`, with a mark if the price is stale.
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
        .map_err(|_| "expected a day, for example 2026-11-24".to_owned())
}
