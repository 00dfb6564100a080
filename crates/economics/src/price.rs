//! Prices as read on a day at a source, for as long as they hold.

use jiff::civil::Date;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::decimal_text::{exact, read_text};
use crate::{CacheCounting, HourlyPrice, RateCard, TokenizerFamily};

/// Where a price comes from and when it holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Provenance {
    /// The page, or the catalogue's own words for it.
    pub source: String,
    /// The day on which it was read there.
    pub read_on: Date,
    /// Whether it was read from a copy that does not tell its day: such a price is always stale.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub undated_copy: bool,
    /// Which catalogues say it, with their versions; none where it was read by hand.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub catalogues: Vec<String>,
    /// The first day on which it holds; `None` in history of unknown beginning. Where no source
    /// tells when a price began, it is the day on which it was read.
    pub valid_from: Option<Date>,
    /// The last day on which it holds; `None` until further notice.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub valid_to: Option<Date>,
    /// What else there is to know.
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

/// What a vendor charges for the tokens of a model.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenPrice {
    /// Who charges it.
    pub vendor: String,
    /// The vendor's name of the model.
    pub model: String,
    /// How it compares with a fine-tuned model.
    pub class: OfferClass,
    /// Where the vendor counts cached tokens.
    pub counting: CacheCounting,
    /// What splits text into tokens there, where that is public.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tokenizer: Option<TokenizerFamily>,
    /// The price of a request that is answered at once.
    pub standard: RateCard,
    /// The price of a request in a batch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub batch: Option<RateCard>,
    /// US dollars per million tokens; says it, so that no row is read in another unit.
    pub unit: TokenUnit,
    /// Where this comes from.
    pub provenance: Provenance,
}

/// The one unit of token prices.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TokenUnit {
    /// US dollars for a million tokens.
    UsdPerMillionTokens,
}

/// What an hour of a GPU costs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GpuPrice {
    /// Who rents it out.
    pub vendor: String,
    /// The product: SXM, PCIe and NVL are not the same.
    pub gpu: String,
    /// Whether it comes bare or with a served model.
    pub kind: GpuKind,
    /// US dollars an hour, on demand.
    #[serde(serialize_with = "exact_price", deserialize_with = "price")]
    pub on_demand: HourlyPrice,
    /// US dollars an hour while nobody else wants it.
    #[serde(
        default,
        serialize_with = "exact_price_or_null",
        deserialize_with = "known_price",
        skip_serializing_if = "Option::is_none"
    )]
    pub spot: Option<HourlyPrice>,
    /// US dollars an hour of one GPU; says it, so that no row is read in another unit.
    pub unit: GpuUnit,
    /// Where this comes from.
    pub provenance: Provenance,
}

/// What is rented.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum GpuKind {
    /// A machine to run one's own server on.
    Rental,
    /// An endpoint that the vendor runs, for one customer's model alone.
    Endpoint,
}

/// The one unit of GPU prices.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GpuUnit {
    /// US dollars for an hour of one GPU.
    UsdPerGpuHour,
}

impl Provenance {
    /// Days after which a price is not to be trusted unseen.
    pub const FRESH_DAYS: i32 = 30;

    /// Whether the price was read more than 30 days before `today`, or nobody knows when. Whoever
    /// shows a price marks a stale one.
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
    /// The vendor and the model in one word.
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
