//! Costs are exact: the expected figures are worked by hand.

#![allow(clippy::unwrap_used, clippy::panic, unreachable_pub)]

use farthing_economics::{Basis, Cost, CostError, HourlyPrice};
use rust_decimal::Decimal;

fn cost(price: &str, seconds: f64) -> Result<Cost, CostError> {
    price.parse::<HourlyPrice>().unwrap().cost_of(seconds)
}

fn usd(price: &str, seconds: f64) -> String {
    cost(price, seconds).unwrap().usd().to_string()
}

#[test]
fn an_hour_costs_the_price() {
    assert_eq!(usd("2.99", 3600.0), "2.99");
}

#[test]
fn small_shares_are_exact() {
    assert_eq!(usd("0.10", 0.36), "0.00001");
    assert_eq!(usd("0.10", 0.000_000_036), "0.000000000001");
    // 0.1 + 0.2 in floats; as shown it has 17 digits, and each of them counts.
    assert_eq!(usd("3600", 0.1 + 0.2), "0.30000000000000004");
}

#[test]
fn a_third_keeps_all_the_digits_of_a_decimal() {
    // 1.2 s of $1 an hour: 1.2 / 3600.
    assert_eq!(usd("1", 1.2), "0.0003333333333333333333333333");
}

#[test]
fn a_price_of_nothing_costs_nothing() {
    assert_eq!(usd("0", 12.5), "0");
    assert_eq!(usd("2", 0.0), "0");
    assert_eq!(usd("2", -0.0), "0");
    assert_eq!(
        usd("2", f64::MIN_POSITIVE),
        "0",
        "less than a decimal can hold"
    );
}

#[test]
fn shares_add_up_to_the_whole() {
    // A second and a half at $4 an hour, split in thirds: 6 / 3600.
    let shares: Decimal = [0.5, 0.5, 0.5]
        .map(|it| cost("4", it).unwrap().usd())
        .iter()
        .sum();
    let whole = cost("4", 1.5).unwrap().usd();
    assert!(
        (shares - whole).abs() <= Decimal::new(1, 27),
        "{shares} {whole}"
    );
}

#[test]
fn text_has_twelve_digits_rounded_half_to_even() {
    let shown = |seconds| cost("3600", seconds).unwrap().to_string();
    assert_eq!(shown(1.5), "1.5");
    assert_eq!(shown(0.000_000_000_000_4), "0");
    assert_eq!(shown(0.000_000_000_000_5), "0");
    assert_eq!(shown(0.000_000_000_001_5), "0.000000000002");
    assert_eq!(shown(0.000_000_000_002_5), "0.000000000002");
    assert_eq!(shown(0.000_000_000_002_500_1), "0.000000000003");
}

#[test]
fn what_is_no_duration_has_no_cost() {
    for seconds in [-1.0, -f64::MIN_POSITIVE, f64::INFINITY, f64::NEG_INFINITY] {
        assert_eq!(cost("2", seconds), Err(CostError::NotADuration(seconds)));
    }
    assert!(matches!(
        cost("2", f64::NAN),
        Err(CostError::NotADuration(_))
    ));
    assert_eq!(
        cost("2", -1.0).unwrap_err().to_string(),
        "invalid duration of -1 seconds: expected a finite number that is not negative"
    );
}

#[test]
fn what_a_decimal_cannot_hold_is_no_cost() {
    assert_eq!(cost("1", 1e29), Err(CostError::OutOfRange(1e29)));
    assert_eq!(cost("1000000", 1e25), Err(CostError::OutOfRange(1e25)));
    assert_eq!(usd("1000000", 3.6e9), "1000000000000");
}

#[test]
fn the_basis_has_a_name() {
    assert_eq!(Basis::MeasuredDeviceTime.as_str(), "measured_device_time");
    assert_eq!(
        Basis::MeasuredDeviceTimeByTokens.as_str(),
        "measured_device_time_by_tokens"
    );
}

#[test]
fn exact_seconds_cost_the_same_and_may_be_a_credit() {
    let price: HourlyPrice = "0.10".parse().unwrap();
    let usd = |seconds: &str| price.usd_for(seconds.parse().unwrap()).to_string();
    assert_eq!(usd("0.36"), "0.00001");
    assert_eq!(usd("-0.36"), "-0.00001");
    assert_eq!(usd("0"), "0");
}
