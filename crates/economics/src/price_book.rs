//! All known prices, by name and day.

mod model_name;

pub use model_name::model_spellings;

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

/// Why a price is not found or a book cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PriceBookError {
    /// A book cannot be parsed.
    #[error("invalid price book: {0}")]
    Unreadable(String),
    /// Two rows of a model hold on the same day.
    #[error("two prices of {name} hold on {day}")]
    Overlap {
        /// The model.
        name: String,
        /// The first such day.
        day: Date,
    },
    /// The book has no such model.
    #[error("no price of {name:?} in the price book{}", or_similar(.similar))]
    NoSuchModel {
        /// The requested name.
        name: String,
        /// Models with a similar name.
        similar: Vec<String>,
    },
    /// Several vendors have a model of this name.
    #[error("several vendors sell {name:?}: expected {}", .vendors.join(" or "))]
    Ambiguous {
        /// The requested name.
        name: String,
        /// The possible models.
        vendors: Vec<String>,
    },
    /// The model has a price, but not on this day.
    #[error("no price of {name} for {day}: the price book has it {}", .known.join(" and "))]
    NotOnThatDay {
        /// The model.
        name: String,
        /// The requested day.
        day: Date,
        /// The days for which there is a price.
        known: Vec<String>,
    },
}

/// The books of this crate.
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
    /// The prices of this crate.
    ///
    /// # Errors
    /// None, as long as the tests of this crate pass.
    pub fn shipped() -> Result<Self, PriceBookError> {
        let mut book = Self::default();
        for text in SHIPPED {
            book.extend(text)?;
        }
        Ok(book)
    }

    /// Adds the rows of a book in TOML. They take precedence over existing rows of the same vendor
    /// and model.
    ///
    /// # Errors
    /// A row cannot be parsed, or two rows of a model hold on the same day.
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

    /// The price of a model on a day. The name is the model's, or `vendor/model` if several vendors
    /// sell it. A dated name, as in a vendor's response, is that of the model without the date, if
    /// the book has no other price of it.
    ///
    /// # Errors
    /// There is no such price, or several vendors have one.
    pub fn token_price(&self, name: &str, day: Date) -> Result<&TokenPrice, PriceBookError> {
        let names = model_name::model_spellings(name);
        let rows = names.iter().map(|name| self.rows(name));
        let rows = rows.into_iter().find(|rows| !rows.is_empty());
        let rows = rows.unwrap_or_default();
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

    fn rows(&self, name: &str) -> Vec<&TokenPrice> {
        let prices = self.token_prices.iter();
        prices
            .filter(|price| price.model == name || price.name() == name)
            .collect()
    }

    fn check_overlaps(&self) -> Result<(), PriceBookError> {
        for (place, row) in self.token_prices.iter().enumerate() {
            let later = self.token_prices[place + 1..]
                .iter()
                .filter(|other| (&other.vendor, &other.model) == (&row.vendor, &row.model));
            for other in later {
                // Two periods overlap if one contains the first day of the other.
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

    /// Names that contain `name`, or that `name` contains.
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
        [] => String::new(),
        names => format!(": similar names are {}", names.join(", ")),
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
