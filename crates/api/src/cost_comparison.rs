//! The comparison of own costs and vendors' prices in `GET /v1/costs/now`.

use rust_decimal::Decimal;
use serde::Serialize;

use crate::usage::as_number;

/// The cost of the same mix of tokens on this machine and at vendors.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CostComparison {
    /// The date of the prices, in UTC: `2026-11-24`.
    pub day: String,
    /// Which tokens are compared: `now` for the last minutes, or `since_start` if there were none.
    pub of: &'static str,
    /// Fraction of the tokens that are prompt tokens, including cached ones.
    pub input_share: f64,
    /// Fraction of the prompt tokens that were cached.
    pub cached_share: f64,
    /// The cost curve of this machine. Absent if its price is unknown.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub curve: Option<CostCurveCard>,
    /// The vendors' offers.
    #[serde(rename = "rivals")]
    pub offers: Vec<OfferCard>,
}

/// The cost of a million tokens by utilization of the machine.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CostCurveCard {
    /// What counts as full use: `slo_capacity` (the capacity within the SLO) or, if that is not
    /// known, `busy` (the rate while computing).
    pub full_use: &'static str,
    /// Tokens per second at full use.
    #[serde(serialize_with = "as_number")]
    pub tokens_per_second: Option<Decimal>,
    /// The present utilization.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub today: Option<CurvePoint>,
    /// From low to full utilization.
    pub points: Vec<CurvePoint>,
}

/// A point of the curve.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct CurvePoint {
    /// Utilization of the machine, as a fraction.
    #[serde(serialize_with = "as_number")]
    pub utilization: Option<Decimal>,
    /// Cost of a million tokens.
    #[serde(serialize_with = "as_number")]
    pub usd_per_million: Option<Decimal>,
}

/// A vendor's offer. An absent price is unknown, not zero.
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
    /// US dollars per million tokens of this machine's mix. Cached tokens count as uncached if
    /// their price is unknown.
    #[serde(serialize_with = "as_number", skip_serializing_if = "Option::is_none")]
    pub mixed: Option<Decimal>,
    /// US dollars per hour, for offers by the hour.
    #[serde(serialize_with = "as_number", skip_serializing_if = "Option::is_none")]
    pub per_hour: Option<Decimal>,
    /// Where this machine becomes cheaper.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub break_even: Option<BreakEvenCard>,
    /// Where the price was read.
    pub source: String,
    /// The date on which it was read.
    pub read_on: String,
    /// Whether it was read more than 30 days ago, or the date is unknown.
    pub stale: bool,
}

/// Where the own cost equals the vendor's.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct BreakEvenCard {
    /// Tokens per day.
    #[serde(serialize_with = "as_number")]
    pub tokens_per_day: Option<Decimal>,
    /// Utilization of the machine, as a fraction.
    #[serde(serialize_with = "as_number")]
    pub utilization: Option<Decimal>,
    /// Whether one machine can do that much.
    pub reachable: bool,
}
