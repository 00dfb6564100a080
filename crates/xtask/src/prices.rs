//! Writes the price books from two public catalogues of vendors' prices, LiteLLM's and
//! genai-prices' (both MIT), which are read as files. A price is used only if both catalogues have
//! it.

mod book;
mod genai;
mod litellm;
mod merge;
mod rates;
mod selection;

use std::fmt;
use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};
use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;

use genai::Genai;
use litellm::LiteLlm;
use selection::Selection;

/// Flags of `cargo xtask prices`.
#[derive(clap::Args, Debug)]
pub struct PricesArgs {
    /// LiteLLM's model_prices_and_context_window.json
    #[arg(long, value_name = "FILE")]
    pub litellm: PathBuf,
    /// Its version
    #[arg(long, value_name = "VERSION")]
    pub litellm_version: Option<String>,
    /// The date of the catalogue [default: today]
    #[arg(long, value_name = "DATE")]
    pub litellm_read_on: Option<Date>,
    /// genai-prices' providers as JSON
    #[arg(long, value_name = "FILE")]
    pub genai: PathBuf,
    /// Its version
    #[arg(long, value_name = "VERSION")]
    pub genai_version: Option<String>,
    /// The date of the catalogue [default: today]
    #[arg(long, value_name = "DATE")]
    pub genai_read_on: Option<Date>,
    /// Where the price books are
    #[arg(long, value_name = "DIR", default_value = "crates/economics/prices")]
    pub out: PathBuf,
}

/// A catalogue's name and date.
#[derive(Clone, Debug)]
struct Edition {
    name: String,
    read_on: Date,
}

impl Edition {
    fn new(name: &str, version: Option<&str>, read_on: Option<Date>) -> Self {
        let today = Timestamp::now().to_zoned_datetime(TimeZone::UTC).date();
        Self {
            name: version.map_or_else(|| name.to_owned(), |version| format!("{name} {version}")),
            read_on: read_on.unwrap_or(today),
        }
    }
}

/// The result of an import.
#[derive(Debug, Default)]
pub struct Import {
    /// The books with their numbers of rows.
    pub books: Vec<(PathBuf, usize)>,
    /// Disagreements of the catalogues. The models concerned are in no book.
    pub conflicts: Vec<String>,
    /// Models without a price in either catalogue.
    pub absent: Vec<String>,
}

/// Writes the books with all selected models on whose prices the catalogues agree.
///
/// # Errors
/// A file cannot be read or written, or is not a catalogue.
pub fn import(args: &PricesArgs) -> Result<Import> {
    let read = |path: &PathBuf| {
        fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))
    };
    let litellm = LiteLlm::parse(
        &read(&args.litellm)?,
        Edition::new(
            "LiteLLM",
            args.litellm_version.as_deref(),
            args.litellm_read_on,
        ),
    )
    .with_context(|| format!("{} is not LiteLLM's catalogue", args.litellm.display()))?;
    let genai = Genai::parse(
        &read(&args.genai)?,
        Edition::new(
            "genai-prices",
            args.genai_version.as_deref(),
            args.genai_read_on,
        ),
    )
    .with_context(|| format!("{} is not genai-prices' catalogue", args.genai.display()))?;

    let mut import = Import::default();
    let mut books = Vec::new();
    for selection in Selection::all()? {
        let mut rows = Vec::new();
        for model in &selection.models {
            let merged = merge::merge(model, &litellm, &genai)
                .with_context(|| format!("reading the price of {}", model.name()))?;
            match merged {
                merge::Merged::Rows(merged) => rows.extend(merged),
                merge::Merged::Conflicts(conflicts) => import.conflicts.extend(conflicts),
                merge::Merged::Absent => import.absent.push(model.name()),
            }
        }
        books.push((args.out.join(&selection.file), rows));
    }
    // Written last, so that an error leaves all books unchanged.
    for (path, rows) in books {
        fs::write(&path, book::text(&rows))
            .with_context(|| format!("writing {}", path.display()))?;
        import.books.push((path, rows.len()));
    }
    Ok(import)
}

impl Import {
    /// Whether the catalogues agreed on everything.
    pub fn is_without_conflicts(&self) -> bool {
        self.conflicts.is_empty()
    }
}

impl fmt::Display for Import {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (path, rows) in &self.books {
            writeln!(f, "{}: {rows} prices", path.display())?;
        }
        for name in &self.absent {
            writeln!(
                f,
                "absent: {name}: in neither catalogue, or without a price"
            )?;
        }
        for conflict in &self.conflicts {
            writeln!(f, "conflict, left out: {conflict}")?;
        }
        Ok(())
    }
}
