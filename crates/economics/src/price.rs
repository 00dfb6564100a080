//! Prices as read on a day at a source, with the days on which they hold.

use jiff::civil::Date;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::decimal_text::{exact, read_text};
use crate::{CacheCounting, HourlyPrice, RateCard, TokenizerFamily};

/// The source of a price, and the days on which it holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Provenance {
    /// The page, or the name of the catalogue.
    pub source: String,
    /// The day on which it was read.
    pub read_on: Date,
    /// Whether it was read from a copy without a date. Such a price is always stale.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub undated_copy: bool,
    /// The catalogues that agree on it, with their versions; empty if it was read by hand.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub catalogues: Vec<String>,
    /// The first day on which it holds; `None` if the beginning is unknown. If no source dates the
    /// price, this is the day on which it was read.
    pub valid_from: Option<Date>,
    /// The last day on which it holds; `None` until further notice.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub valid_to: Option<Date>,
    /// Remarks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// How a vendor's model compares with a fine-tuned model on own hardware.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OfferClass {
    /// A vendor's own large or small model over its API.
    Frontier,
    /// An open model of 7 to 8 billion parameters, hosted for all.
    Hosted,
}

/// The price of the tokens of a model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenPrice {
    /// The vendor.
    pub vendor: String,
    /// The vendor's name of the model.
    pub model: String,
    /// How it compares with a fine-tuned model.
    pub class: OfferClass,
    /// Where the vendor counts cached tokens.
    pub counting: CacheCounting,
    /// The tokenizer of the model, if it is public.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tokenizer: Option<TokenizerFamily>,
    /// The price of a request that is answered at once.
    pub standard: RateCard,
    /// The price of a request in a batch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub batch: Option<RateCard>,
    /// US dollars per million tokens. It is explicit, so that no row is read in another unit.
    pub unit: TokenUnit,
    /// The source.
    pub provenance: Provenance,
}

/// The one unit of token prices.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TokenUnit {
    /// US dollars per million tokens.
    UsdPerMillionTokens,
}

/// The price of a GPU-hour.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GpuPrice {
    /// The vendor.
    pub vendor: String,
    /// The product. SXM, PCIe and NVL are different products.
    pub gpu: String,
    /// Whether it is a machine or an endpoint.
    pub kind: GpuKind,
    /// US dollars per hour, on demand.
    #[serde(serialize_with = "exact_price", deserialize_with = "price")]
    pub on_demand: HourlyPrice,
    /// US dollars per hour, interruptible.
    #[serde(
        default,
        serialize_with = "exact_price_or_null",
        deserialize_with = "known_price",
        skip_serializing_if = "Option::is_none"
    )]
    pub spot: Option<HourlyPrice>,
    /// US dollars per GPU-hour. It is explicit, so that no row is read in another unit.
    pub unit: GpuUnit,
    /// The source.
    pub provenance: Provenance,
}

/// What is rented.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum GpuKind {
    /// A machine for an own server.
    Rental,
    /// An endpoint that the vendor runs for the model of one customer.
    Endpoint,
}

/// The one unit of GPU prices.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GpuUnit {
    /// US dollars per GPU-hour.
    UsdPerGpuHour,
}

impl Provenance {
    /// The number of days after which a price has to be checked.
    pub const FRESH_DAYS: i32 = 30;

    /// Whether the price was read more than 30 days before `today`, or at an unknown date. Stale
    /// prices are marked wherever they are shown.
    pub fn is_stale(&self, today: Date) -> bool {
        self.undated_copy || (today - self.read_on).get_days() > Self::FRESH_DAYS
    }

    /// Whether the price holds on `day`, as far as is known.
    pub fn holds_on(&self, day: Date) -> bool {
        self.valid_from.is_none_or(|first| first <= day)
            && self.valid_to.is_none_or(|last| day <= last)
    }
}

impl TokenPrice {
    /// Vendor and model: `vendor/model`.
    pub fn name(&self) -> String {
        format!("{}/{}", self.vendor, self.model)
    }
}

fn price<'de, D: Deserializer<'de>>(deserializer: D) -> Result<HourlyPrice, D::Error> {
    let usd = read_text(deserializer)?;
    if usd.is_zero() {
        let message = "a price of zero is an unknown one: leave the row out";
        return Err(serde::de::Error::custom(message));
    }
    HourlyPrice::new(usd).map_err(serde::de::Error::custom)
}

fn exact_price<S: Serializer>(price: &HourlyPrice, serializer: S) -> Result<S::Ok, S::Error> {
    exact(&price.usd(), serializer)
}

fn known_price<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<HourlyPrice>, D::Error> {
    price(deserializer).map(Some)
}

fn exact_price_or_null<S: Serializer>(
    price: &Option<HourlyPrice>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match price {
        Some(price) => exact_price(price, serializer),
        None => serializer.serialize_none(),
    }
}
