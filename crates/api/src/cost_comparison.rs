//! One's own cost of tokens beside vendors' prices, as `GET /v1/costs/now` tells it.

use rust_decimal::Decimal;
use serde::Serialize;

use crate::usage::as_number;

/// The same mix of tokens on this machine and at vendors.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CostComparison {
    /// The day whose prices these are, in UTC: `2026-11-24`.
    pub day: String,
    /// Whose tokens are compared: `now` for the last minutes, `since_start` where there were none.
    pub of: &'static str,
    /// Which part of the tokens is of prompts, cached ones included.
    pub input_share: f64,
    /// Which part of the prompts' tokens came from the cache.
    pub cached_share: f64,
    /// Absent where no price of this machine is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub curve: Option<CostCurveCard>,
    /// Vendors' offers.
    #[serde(rename = "rivals")]
    pub offers: Vec<OfferCard>,
}

/// What a million tokens cost by how much of the machine is used.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CostCurveCard {
    /// What counts as full use: `slo_capacity`, what the machine carries within its service level,
    /// or where that is not known `busy`, what it does while it computes.
    pub full_use: &'static str,
    /// Tokens a second then.
    #[serde(serialize_with = "as_number")]
    pub tokens_per_second: Option<Decimal>,
    /// Where the machine is on it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub today: Option<CurvePoint>,
    /// From little use to full use.
    pub points: Vec<CurvePoint>,
}

/// A place on the curve.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct CurvePoint {
    /// The share of the machine that is used.
    #[serde(serialize_with = "as_number")]
    pub utilization: Option<Decimal>,
    /// What a million tokens cost then.
    #[serde(serialize_with = "as_number")]
    pub usd_per_million: Option<Decimal>,
}

/// What a vendor asks; absent is unknown, not free.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct OfferCard {
    /// Vendor and model, or vendor and GPU.
    pub name: String,
    /// `frontier`, `hosted` or `endpoint`.
    pub kind: &'static str,
    /// US dollars per million prompt tokens.
    #[serde(serialize_with = "as_number", skip_serializing_if = "Option::is_none")]
    pub input: Option<Decimal>,
    /// US dollars per million cached prompt tokens.
    #[serde(serialize_with = "as_number", skip_serializing_if = "Option::is_none")]
    pub cached: Option<Decimal>,
    /// US dollars per million tokens of answers.
    #[serde(serialize_with = "as_number", skip_serializing_if = "Option::is_none")]
    pub output: Option<Decimal>,
    /// US dollars per million tokens of our mix; cached ones count as others where their price is
    /// unknown.
    #[serde(serialize_with = "as_number", skip_serializing_if = "Option::is_none")]
    pub mixed: Option<Decimal>,
    /// US dollars an hour, of what is paid by the hour.
    #[serde(serialize_with = "as_number", skip_serializing_if = "Option::is_none")]
    pub per_hour: Option<Decimal>,
    /// From which use on this machine is cheaper.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub break_even: Option<BreakEvenCard>,
    /// Where the price was read.
    pub source: String,
    /// On which day.
    pub read_on: String,
    /// Whether that was more than 30 days ago, or nobody knows when.
    pub stale: bool,
}

/// Where one's own cost is the vendor's.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct BreakEvenCard {
    /// Tokens a day.
    #[serde(serialize_with = "as_number")]
    pub tokens_per_day: Option<Decimal>,
    /// The share of the machine that is used then.
    #[serde(serialize_with = "as_number")]
    pub utilization: Option<Decimal>,
    /// Whether one machine can do that much.
    pub reachable: bool,
}
