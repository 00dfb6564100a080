//! All prices that are known, by name and day.

use jiff::civil::Date;
use serde::Deserialize;

use crate::{GpuKind, GpuPrice, TokenPrice};

/// Dated prices of tokens and of GPU-hours.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PriceBook {
    #[serde(default, rename = "token_price")]
    token_prices: Vec<TokenPrice>,
    #[serde(default, rename = "gpu_price")]
    gpu_prices: Vec<GpuPrice>,
}

/// Why there is no price.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PriceBookError {
    /// A book does not parse.
    #[error("no price book: {0}")]
    Unreadable(String),
    /// Two rows of a model hold on one day.
    #[error("two prices of {name} hold on {day}")]
    Overlap {
        /// Whose.
        name: String,
        /// The first such day.
        day: Date,
    },
    /// Nobody charges for that.
    #[error("there is no price of {name:?} in the book{}", or_similar(.similar))]
    NoSuchModel {
        /// What was asked for.
        name: String,
        /// Models that are called almost so.
        similar: Vec<String>,
    },
    /// Several vendors have a model of that name.
    #[error("{name:?} is sold by several: say which, {}", .vendors.join(" or "))]
    Ambiguous {
        /// What was asked for.
        name: String,
        /// What it could mean.
        vendors: Vec<String>,
    },
    /// The model has a price, but not on that day.
    #[error("no price of {name} is known for {day}: the book has it {}", .known.join(" and "))]
    NotOnThatDay {
        /// Whose price.
        name: String,
        /// The day asked for.
        day: Date,
        /// For which days there is one.
        known: Vec<String>,
    },
}

/// The books that come with this crate.
const SHIPPED: [&str; 7] = [
    include_str!("../prices/openai.toml"),
    include_str!("../prices/anthropic.toml"),
    include_str!("../prices/google.toml"),
    include_str!("../prices/mistral.toml"),
    include_str!("../prices/hosted.toml"),
    include_str!("../prices/endpoints.toml"),
    include_str!("../prices/gpu.toml"),
];

impl PriceBook {
    /// The prices that come with this crate.
    ///
    /// # Errors
    /// None, as long as this crate's tests pass.
    pub fn shipped() -> Result<Self, PriceBookError> {
        let mut book = Self::default();
        for text in SHIPPED {
            book.extend(text)?;
        }
        Ok(book)
    }

    /// Adds the rows of a book in TOML. They go before the rows of the same vendor and model that
    /// are there already.
    ///
    /// # Errors
    /// A row does not parse, or two rows of one model hold on the same day.
    pub fn extend(&mut self, toml: &str) -> Result<(), PriceBookError> {
        let more: Self = toml::from_str(toml)
            .map_err(|error| PriceBookError::Unreadable(error.to_string().trim_end().to_owned()))?;
        more.check_overlaps()?;
        self.token_prices.retain(|known| {
            !more
                .token_prices
                .iter()
                .any(|new| (&new.vendor, &new.model) == (&known.vendor, &known.model))
        });
        self.token_prices.extend(more.token_prices);
        self.gpu_prices.extend(more.gpu_prices);
        Ok(())
    }

    /// The price of a model on a day. The name is the vendor's, or `vendor/model` where several
    /// sell it.
    ///
    /// # Errors
    /// There is none, or more than one vendor's.
    pub fn token_price(&self, name: &str, day: Date) -> Result<&TokenPrice, PriceBookError> {
        let rows: Vec<_> = self
            .token_prices
            .iter()
            .filter(|price| price.model == name || price.name() == name)
            .collect();
        let Some(first) = rows.first() else {
            return Err(PriceBookError::NoSuchModel {
                name: name.to_owned(),
                similar: self.similar(name),
            });
        };
        if rows.iter().any(|row| row.vendor != first.vendor) {
            let mut vendors: Vec<_> = rows.iter().map(|row| row.name()).collect();
            vendors.dedup();
            return Err(PriceBookError::Ambiguous {
                name: name.to_owned(),
                vendors,
            });
        }
        let on_that_day = rows.iter().find(|row| row.provenance.holds_on(day));
        on_that_day
            .copied()
            .ok_or_else(|| PriceBookError::NotOnThatDay {
                name: first.name(),
                day,
                known: rows.iter().map(|row| period(row)).collect(),
            })
    }

    /// All token prices that hold on a day.
    pub fn token_prices(&self, day: Date) -> impl Iterator<Item = &TokenPrice> {
        self.token_prices
            .iter()
            .filter(move |price| price.provenance.holds_on(day))
    }

    /// The dedicated endpoints whose prices hold on a day.
    pub fn endpoints(&self, day: Date) -> impl Iterator<Item = &GpuPrice> {
        self.gpu_prices(day)
            .filter(|price| price.kind == GpuKind::Endpoint)
    }

    /// The endpoint with the lowest price.
    pub fn cheapest_endpoint(&self, day: Date) -> Option<&GpuPrice> {
        self.endpoints(day).min_by_key(|price| price.on_demand)
    }

    /// All GPU prices that hold on a day.
    pub fn gpu_prices(&self, day: Date) -> impl Iterator<Item = &GpuPrice> {
        self.gpu_prices
            .iter()
            .filter(move |price| price.provenance.holds_on(day))
    }

    fn check_overlaps(&self) -> Result<(), PriceBookError> {
        for (place, row) in self.token_prices.iter().enumerate() {
            let later = self.token_prices[place + 1..]
                .iter()
                .filter(|other| (&other.vendor, &other.model) == (&row.vendor, &row.model));
            for other in later {
                // Two periods overlap if one holds the other's first day.
                let first_days =
                    [row, other].map(|it| it.provenance.valid_from.unwrap_or(Date::MIN));
                let day = first_days[0].max(first_days[1]);
                if row.provenance.holds_on(day) && other.provenance.holds_on(day) {
                    return Err(PriceBookError::Overlap {
                        name: row.name(),
                        day,
                    });
                }
            }
        }
        Ok(())
    }

    /// Names that hold `name`, or that `name` holds.
    fn similar(&self, name: &str) -> Vec<String> {
        let name = name.to_lowercase();
        let bare = name.rsplit('/').next().unwrap_or(&name);
        let names = self.token_prices.iter().map(TokenPrice::name);
        let mut similar: Vec<_> = names
            .filter(|known| {
                let model = known.split_once('/').map_or("", |(_, model)| model);
                known.contains(bare) || bare.contains(model)
            })
            .collect();
        similar.dedup();
        similar.truncate(5);
        similar
    }
}

fn or_similar(names: &[String]) -> String {
    match names {
        [] => ": `farthing price --list` shows what there is".to_owned(),
        names => format!("; there is {}", names.join(", ")),
    }
}

fn period(price: &TokenPrice) -> String {
    let provenance = &price.provenance;
    match (provenance.valid_from, provenance.valid_to) {
        (Some(first), Some(last)) => format!("from {first} to {last}"),
        (Some(first), None) => format!("from {first} on"),
        (None, Some(last)) => format!("until {last}"),
        (None, None) => "for all days".to_owned(),
    }
}
