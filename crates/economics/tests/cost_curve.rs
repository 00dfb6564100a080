//! What tokens cost by how much of the machine they use.

#![allow(clippy::unwrap_used)]

use farthing_economics::CostCurve;
use rust_decimal::Decimal;

fn decimal(text: &str) -> Decimal {
    text.parse().unwrap()
}

/// An A100 at 1.79 dollars an hour that carries 3,709 tokens a second within its service level: the
/// figures of the table that the benchmark's design was drawn from.
fn a100() -> CostCurve {
    CostCurve::new("1.79".parse().unwrap(), decimal("3709")).unwrap()
}

#[test]
fn half_the_use_doubles_the_cost() {
    let full = a100().usd_per_million_at(Decimal::ONE).unwrap();
    assert_eq!(full.round_dp(3), decimal("0.134"));
    let half = a100().usd_per_million_at(decimal("0.5")).unwrap();
    assert_eq!(half.round_dp(12), (full * decimal("2")).round_dp(12));
    assert_eq!(a100().usd_per_million_at(Decimal::ZERO), None);
}

/// Against 4.375 dollars a million: 1.79 * 24 / 4.375 is 9.82 million tokens a day, 3.06 % of what
/// it carries.
#[test]
fn break_even_is_where_the_curve_meets_the_price() {
    let price = decimal("4.375");
    let a_day = a100().break_even_tokens_per_day(price).unwrap();
    assert_eq!(a_day.round(), decimal("9819429"));
    let utilization = a100().break_even_utilization(price).unwrap();
    assert_eq!(utilization.round_dp(6), decimal("0.030642"));
    let met = a100().usd_per_million_at(utilization).unwrap();
    assert_eq!(met.round_dp(9), price);
    assert_eq!(a100().break_even_utilization(Decimal::ZERO), None);
}

/// A hosted model at a price below what the machine costs even when it never idles.
#[test]
fn a_price_below_full_use_is_never_met() {
    let utilization = a100().break_even_utilization(decimal("0.05")).unwrap();
    assert!(utilization > Decimal::ONE);
}

#[test]
fn a_machine_that_carries_nothing_has_no_curve() {
    assert_eq!(CostCurve::new("1.79".parse().unwrap(), Decimal::ZERO), None);
}
